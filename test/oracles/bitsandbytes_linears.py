"""Fixtures for engine/checkpoints/bitsandbytes, written by bitsandbytes.

usage: bitsandbytes_linears.py OUT_DIRECTORY   (needs: torch, bitsandbytes 0.50, safetensors)

Writes, per case, one safetensors file: `source` [N, K], what bitsandbytes quantized; the tensors that its Linear4bit or Linear8bitLt saves;
and `dense` [N, K], its own dequantization, in float32 where it gives another dtype. And dynamic-map.safetensors: its 8-bit map.

The native library is kept from loading, so that the portable kernels run: they round to the nearest level, where the native kernel
of CPUs for 8 bits looks places up in a table of 65,536. The mean of the magnitudes in double quantization is summed by torch in
float32, in an order that depends on the processor; sources are drawn until it is the correctly rounded mean.
"""

import ctypes
import os
import sys
import warnings

warnings.filterwarnings("ignore")
os.environ["CUDA_VISIBLE_DEVICES"] = ""


def refuse(*_):
    raise OSError("portable kernels are wanted")


import torch

ctypes.cdll.LoadLibrary = refuse

import bitsandbytes.functional as F
from bitsandbytes.cextension import ErrorHandlerMockBNBNativeLibrary, lib
from bitsandbytes.nn import Int8Params
from safetensors.torch import save_file

assert isinstance(lib, ErrorHandlerMockBNBNativeLibrary)
torch.set_num_threads(1)
#        name                         type   N    K    block  nested dtype
FOUR_BITS = [
    ("nf4-double",                    "nf4", 40,  96,  64,    True,  torch.bfloat16),
    ("nf4-double-many-blocks",        "nf4", 96,  224, 64,    True,  torch.float16),
    ("nf4-plain-float32",             "nf4", 33,  64,  64,    False, torch.float32),
    ("nf4-double-blocks-of-128",      "nf4", 24,  256, 128,   True,  torch.float32),
    ("nf4-odd",                       "nf4", 7,   45,  64,    True,  torch.bfloat16),
    ("fp4-double",                    "fp4", 40,  96,  64,    True,  torch.bfloat16),
    ("fp4-plain-float16",             "fp4", 9,   50,  32,    False, torch.float16),
]
out = sys.argv[1]
os.makedirs(out, exist_ok=True)


def weight(N, K, dtype, generator):
    w = torch.randn((N, K), generator=generator) * 0.02 * torch.exp(torch.randn((N, 1), generator=generator))
    w[N // 2, :] = 0  # blocks of zeros
    w[0, :16] = w[0, 16] * torch.linspace(-1, 1, 16)
    return w.to(dtype)


def mean_is_rounded(absmax):
    return absmax.mean().item() == torch.tensor(absmax.double().mean().item(), dtype=torch.float32).item()


for index, (name, kind, N, K, block, nested, dtype) in enumerate(FOUR_BITS):
    for seed in range(1000):
        source = weight(N, K, dtype, torch.Generator().manual_seed(1000 * index + seed))
        plain = F.quantize_4bit(source, blocksize=block, quant_type=kind)[1].absmax
        if not nested or mean_is_rounded(plain):
            break
    packed, state = F.quantize_4bit(source, blocksize=block, quant_type=kind, compress_statistics=nested)
    stored = {f"weight.{part}": tensor.contiguous() for part, tensor in state.as_dict(packed=True).items()}
    save_file(
        {"source": source, "weight": packed, **stored, "dense": F.dequantize_4bit(packed, state).float().contiguous()},
        os.path.join(out, f"{name}.safetensors"),
    )

for name, dtype in (("int8-bfloat16", torch.bfloat16), ("int8-float32", torch.float32)):
    source = weight(24, 70, dtype, torch.Generator().manual_seed(5))
    source[3] *= 100
    quantized = Int8Params(source.clone(), requires_grad=False, has_fp16_weights=False).to("cpu")
    stored = {"weight": quantized.data, "SCB": quantized.SCB, "weight_format": torch.tensor(0, dtype=torch.uint8)}
    dense = F.int8_vectorwise_dequant(quantized.data, quantized.SCB)
    save_file({"source": source, **stored, "dense": dense}, os.path.join(out, f"{name}.safetensors"))

save_file({"levels": F.create_dynamic_map()}, os.path.join(out, "dynamic-map.safetensors"))
