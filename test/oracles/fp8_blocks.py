"""FP8 weights in blocks, and what torch makes of them: value times the inverse scale of the block.

usage: python fp8_blocks.py FIXTURE.safetensors

Needs torch, safetensors.
"""

import sys

import torch
from safetensors.torch import save_file

torch.manual_seed(8)
height, width, rows, columns = 8, 16, 20, 40
every = torch.arange(256, dtype=torch.uint8).view(torch.float8_e4m3fn)
weight = torch.randn(rows, columns) * 0.05
down, across = -(-rows // height), -(-columns // width)
scale = torch.empty(down, across)
codes = torch.empty(rows, columns, dtype=torch.float8_e4m3fn)
for i in range(down):
    for j in range(across):
        block = weight[i * height : (i + 1) * height, j * width : (j + 1) * width]
        scale[i, j] = block.abs().max() / 448
        codes[i * height : (i + 1) * height, j * width : (j + 1) * width] = (block / scale[i, j]).to(torch.float8_e4m3fn)
spread = scale.repeat_interleave(height, 0)[:rows].repeat_interleave(width, 1)[:, :columns]
save_file(
    {
        "every": every.view(torch.uint8),
        "every_value": every.to(torch.float32),
        "linear.weight": codes,
        "linear.weight_scale_inv": scale,
        "expected": codes.to(torch.float32) * spread,
    },
    sys.argv[1],
)
