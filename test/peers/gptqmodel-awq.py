"""A model quantized with AWQ by GPTQModel.

usage: gptqmodel-awq.py SOURCE TEXT OUT   (needs: torch, gptqmodel)
"""
import os
import sys

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("GPTQMODEL_CPU_WORKERS", "2")
os.environ["CUDA_VISIBLE_DEVICES"] = ""

import torch
from gptqmodel import GPTQModel, QuantizeConfig
from gptqmodel.quantization import FORMAT, METHOD

source, text, output = sys.argv[1:]
torch.set_num_threads(int(os.environ.get("THREADS", "2")))
model = GPTQModel.load(source, QuantizeConfig(bits=4, group_size=64, method=METHOD.AWQ, format=FORMAT.GEMM), device="cpu")
words = open(text, encoding="utf8").read()
model.quantize([words[start : start + 1500] for start in range(0, 16 * 1500, 1500)], batch_size=1)
model.save(output)
