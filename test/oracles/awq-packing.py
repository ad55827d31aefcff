"""Fixtures for engine/checkpoints/awq, packed and dequantized by GPTQModel's own functions (AutoAWQ's, which it took over).

usage: awq-packing.py OUT_DIRECTORY

Writes, per case, one safetensors file: the packed tensors as GPTQModel registers them, what they were packed from (`codes` [N, K],
`zeros` [N, G]) and `dense` [N, K], which is its dequantize_gemm in float32. Needs gptqmodel 7.7.0, torch, safetensors.
"""

import os
import sys

os.environ["CUDA_VISIBLE_DEVICES"] = ""
os.environ.setdefault("GPTQMODEL_CPU_WORKERS", "2")

import torch
from gptqmodel.nn_modules.qlinear.torch_awq import AwqTorchLinear
from gptqmodel.quantization.awq.utils.packing_utils import dequantize_gemm
from safetensors.torch import save_file

torch.set_num_threads(1)
#        name             K    N  group sym
CASES = [
    ("asymmetric",      128,  40,   32, False),
    ("symmetric",        64,  32,   64, True),
    ("row",              96,  24,   -1, False),
]

for number, (name, K, N, group, sym) in enumerate(CASES):
    generator = torch.Generator().manual_seed(number)
    size = K if group == -1 else group
    groups = K // size
    codes = torch.randint(0, 16, (N, K), generator=generator)
    zeros = torch.full((N, groups), 8) if sym else torch.randint(0, 16, (N, groups), generator=generator)
    scales = (torch.rand((N, groups), generator=generator) * 0.05 + 0.001).half()
    column_group = torch.arange(K) // size
    linear = torch.nn.Linear(K, N, bias=False)
    linear.weight.data = (codes - zeros[:, column_group]).float() * scales.float()[:, column_group]
    module = AwqTorchLinear(
        bits=4, group_size=size, sym=sym, desc_act=False, in_features=K, out_features=N, register_buffers=False
    )
    module.pack(linear, scales, zeros)
    tensors = {
        "qweight": module.qweight,
        "qzeros": module.qzeros,
        "scales": module.scales,
        "codes": codes.to(torch.uint8),
        "zeros": zeros.to(torch.uint8),
        "dense": dequantize_gemm(module.qweight, module.qzeros, module.scales.float(), 4, size).t().float(),
    }
    assert tensors["qweight"].shape == (K, N // 8) and tensors["scales"].dtype == torch.float16
    save_file(
        {key: value.contiguous() for key, value in tensors.items()},
        os.path.join(sys.argv[1], f"{name}.safetensors"),
        {"group_size": str(group)},
    )
