"""Fixture for engine/quantizers: ternary weights as torch and gguf have them.

usage: ternary.py OUT_FILE   (needs: torch, gguf, safetensors)

Of each weight `source` [2, 256]: `codes`, and `dense`, by BitNet's own formula (weight_quant of its paper's appendix); TQ1_0 and TQ2_0 blocks of `dense`
by gguf. `trained`: ternary already, whose `dense` is itself. `powers`: a weight rounded to the nearest of 0 and 2^-6 .. 1 times `scale`, of either sign.
"""

import sys

import numpy as np
import torch
from gguf import GGMLQuantizationType, quants
from safetensors.torch import save_file

generator = torch.Generator().manual_seed(11)


def bitnet(w):
    scale = 1.0 / w.abs().mean().clamp_(min=1e-5)
    codes = (w * scale).round().clamp_(-1, 1)
    return codes, codes / scale


tensors = {}
codes = torch.randint(-1, 2, (2, 256), generator=generator).float()
cases = {
    "trained": (codes * 0.0390625, codes, codes * 0.0390625),
    "other": None,
}
weight = torch.randn((2, 256), generator=generator) / 16
found, dense = bitnet(weight)
cases["other"] = (weight, found, dense)
for name, (source, codes, dense) in cases.items():
    # What files hold: float16.
    magnitude = dense.abs().max().to(torch.float16).float()
    dense = codes * magnitude
    tensors |= {f"{name}.source": source, f"{name}.codes": codes.to(torch.int8), f"{name}.dense": dense}
    for kind in ("TQ1_0", "TQ2_0"):
        blocks = quants.quantize(dense.numpy(), GGMLQuantizationType[kind])
        tensors[f"{name}.{kind}"] = torch.from_numpy(np.ascontiguousarray(blocks))

source = torch.randn((4, 64), generator=generator) / 8
levels = torch.cat([torch.zeros(1), 2.0 ** torch.arange(-6, 1)])
levels = torch.cat([-levels[1:].flip(0), levels])
scale = source.unflatten(1, (2, 32)).abs().amax(-1).to(torch.bfloat16).float()
each = scale.repeat_interleave(32, 1)
nearest = levels[((source / each)[..., None] - levels).abs().argmin(-1)]
tensors |= {"powers.source": source, "powers.dense": nearest * each}
save_file({key: value.contiguous() for key, value in tensors.items()}, sys.argv[1])
