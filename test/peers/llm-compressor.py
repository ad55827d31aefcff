"""Quantizes a model to nearest with llm-compressor: a compressed-tensors checkpoint of another producer.

usage: llm-compressor.py MODEL OUT   (needs: torch, transformers, llmcompressor)

down_proj: 8 bits per channel, symmetric. The other linears: 4 bits in groups of 64, with zero points; the head is kept.
"""
import os
import sys

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("GOMP_SPINCOUNT", "0")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ["CUDA_VISIBLE_DEVICES"] = ""

import torch
from llmcompressor import oneshot
from llmcompressor.modifiers.quantization import QuantizationModifier
from transformers import AutoModelForCausalLM, AutoTokenizer

source, out = sys.argv[1], sys.argv[2]
torch.set_num_threads(int(os.environ.get("THREADS", "2")))
model = AutoModelForCausalLM.from_pretrained(source, dtype="auto", device_map="cpu")
channels = {"num_bits": 8, "symmetric": True, "strategy": "channel"}
groups = {"num_bits": 4, "symmetric": False, "strategy": "group", "group_size": 64}
recipe = QuantizationModifier(
    ignore=["lm_head"],
    config_groups={
        "down": {"targets": ["re:.*down_proj$"], "weights": channels},
        "others": {"targets": [r"re:.*(q|k|v|o|gate|up)_proj$"], "weights": groups},
    },
)
oneshot(model=model, recipe=recipe)
model.save_pretrained(out, save_compressed=True)
AutoTokenizer.from_pretrained(source).save_pretrained(out)
