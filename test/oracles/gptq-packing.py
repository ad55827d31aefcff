"""Fixtures for engine/checkpoints/gptq, packed by GPTQModel's own packer.

usage: gptq-packing.py OUT_DIRECTORY

Writes, per case, one safetensors file: the packed tensors as GPTQModel registers them (v2 zero points), `qzeros_v1` after its
conversion to v1 where it has one, what they were packed from (`codes` [N, K], `zeros` [N, G], `scale` [N, G]) and `dense` [N, K],
which is GPTQModel's dequantize_weight. Needs gptqmodel 7.7.0, torch, safetensors.
"""

import os
import sys

os.environ["CUDA_VISIBLE_DEVICES"] = ""
os.environ.setdefault("GPTQMODEL_CPU_WORKERS", "2")

import torch
from gptqmodel import BACKEND
from gptqmodel.nn_modules.qlinear.torch import TorchLinear
from gptqmodel.quantization.config import FORMAT
from gptqmodel.utils.model_dequant import _revert_gptq_v1_qzeros_correction
from safetensors.torch import save_file

torch.set_num_threads(2)
#        name                bits  K    N   group sym    act    format
CASES = [
    ("2-asymmetric",           2, 128, 32,  64, False, False, FORMAT.GPTQ_V2),
    ("3-symmetric",            3,  64, 64,  32, True,  False, FORMAT.GPTQ_V2),
    ("3-asymmetric-act-order", 3, 128, 32,  32, False, True,  FORMAT.GPTQ_V2),
    ("3-planar",               3,  64, 32,  32, False, False, FORMAT.GPTQ_P),
    ("4-symmetric",            4, 128, 64,  64, True,  False, FORMAT.GPTQ_V2),
    ("4-asymmetric-tail",      4,  96, 32,  64, False, False, FORMAT.GPTQ_V2),
    ("4-row",                  4,  64, 32,  -1, True,  False, FORMAT.GPTQ_V2),
    ("4-act-order",            4, 128, 32,  32, True,  True,  FORMAT.GPTQ_V2),
    ("5-symmetric",            5,  64, 64,  32, True,  False, FORMAT.GPTQ_P),
    ("6-asymmetric",           6, 128, 32,  64, False, False, FORMAT.GPTQ_P),
    ("7-asymmetric",           7,  64, 32,  32, False, False, FORMAT.GPTQ_P),
    ("8-asymmetric",           8,  64, 32,  32, False, False, FORMAT.GPTQ_V2),
]

for number, (name, bits, K, N, group, sym, act, layout) in enumerate(CASES):
    generator = torch.Generator().manual_seed(number)
    size = K if group == -1 else group
    groups = -(-K // size)
    codes = torch.randint(0, 2**bits, (N, K), generator=generator)
    # v1 cannot hold 0
    zeros = torch.full((N, groups), 2 ** (bits - 1)) if sym else torch.randint(1, 2**bits, (N, groups), generator=generator)
    scale = (torch.rand((N, groups), generator=generator) * 0.05 + 0.001).half().float()
    order = torch.randperm(K, generator=generator) if act else torch.arange(K)
    g_idx = torch.empty(K, dtype=torch.int32)
    g_idx[order] = (torch.arange(K) // size).int()
    weight = (codes - zeros[:, g_idx.long()]).float() * scale[:, g_idx.long()]

    linear = torch.nn.Linear(K, N, bias=False)
    linear.weight.data = weight
    packed = TorchLinear(bits=bits, group_size=group, sym=sym, desc_act=act, in_features=K, out_features=N, bias=False,
                         pack_dtype=torch.int32, backend=BACKEND.GPTQ_TORCH, adapter=None, format=layout, register_buffers=True)
    packed.pack_original(linear, scales=scale, zeros=zeros.int(), g_idx=g_idx)
    packed.post_init()
    packed.dequant_dtype = torch.int16
    tensors = {k: getattr(packed, k).contiguous() for k in ("qweight", "qzeros", "scales", "g_idx")}
    if layout == FORMAT.GPTQ_V2:
        tensors["qzeros_v1"] = _revert_gptq_v1_qzeros_correction(tensors["qzeros"], bits)
    tensors |= {"codes": codes.to(torch.uint8), "zeros": zeros.to(torch.uint8), "scale": scale,
                "dense": packed.dequantize_weight().T.float().contiguous()}
    save_file(tensors, os.path.join(sys.argv[1], f"{name}.safetensors"),
              metadata={"bits": str(bits), "group_size": str(group), "sym": str(sym).lower(), "layout": layout.value})
    print(name, {k: list(v.shape) for k, v in tensors.items()})
