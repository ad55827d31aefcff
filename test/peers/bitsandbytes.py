"""Weights and logits of a bitsandbytes checkpoint as transformers and bitsandbytes have them, on a CPU.

usage: bitsandbytes.py read DIRECTORY DENSE IDS      (needs: torch, transformers, bitsandbytes, accelerate)
       bitsandbytes.py write SOURCE DIRECTORY KIND   KIND: nf4, fp4 or int8

read: DENSE is a directory with the same model, dequantized by Quantloom; IDS token ids, separated by commas. Prints one JSON object: `weights`,
by module the SHA-256 of the weight that bitsandbytes dequantizes, in float32, zeros without their sign; `difference` of the logits of the two, the
largest, and their `spread`. write: quantizes SOURCE by transformers and saves it.
"""
import hashlib
import json
import os
import sys
import warnings

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("GOMP_SPINCOUNT", "0")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ["CUDA_VISIBLE_DEVICES"] = ""
warnings.filterwarnings("ignore")

# This file has the name of the package.
sys.path = [path for path in sys.path if os.path.abspath(path or ".") != os.path.dirname(os.path.abspath(__file__))]
import bitsandbytes as bnb
import torch
from transformers import AutoModelForCausalLM, BitsAndBytesConfig

torch.set_num_threads(int(os.environ.get("THREADS", "2")))


def weight_of(module):
    weight = module.weight
    if isinstance(module, bnb.nn.Linear4bit):
        dense = bnb.functional.dequantize_4bit(weight.data, weight.quant_state)
    else:
        scale = weight.SCB if getattr(weight, "SCB", None) is not None else module.state.SCB
        dense = bnb.functional.int8_vectorwise_dequant(weight.data, scale)
    return dense.float() + 0.0  # no negative zero


def logits_of(model, ids):
    with torch.inference_mode():
        return model.eval()(input_ids=torch.tensor([ids])).logits


def read(directory, dense, words):
    ids = [int(word) for word in words.split(",")]
    model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32, device_map="cpu")
    weights = {}
    for name, module in model.named_modules():
        if not isinstance(module, (bnb.nn.Linear4bit, bnb.nn.Linear8bitLt)):
            continue
        if isinstance(module, bnb.nn.Linear4bit):
            module.compute_dtype = torch.float32
            module.support_avx512bf16_for_cpu = False  # a kernel that computes in bfloat16
        weights[name] = hashlib.sha256(weight_of(module).contiguous().numpy().tobytes()).hexdigest()
    logits = logits_of(model, ids)
    expected = logits_of(AutoModelForCausalLM.from_pretrained(dense, dtype=torch.float32), ids)
    difference = (logits.float() - expected).abs().max().item()
    print(json.dumps({"weights": weights, "difference": difference, "spread": expected.std().item()}))


def write(source, directory, kind):
    if kind == "int8":
        config = BitsAndBytesConfig(load_in_8bit=True)
    else:
        config = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type=kind, bnb_4bit_use_double_quant=kind == "nf4")
    model = AutoModelForCausalLM.from_pretrained(source, dtype=torch.bfloat16, device_map="cpu", quantization_config=config)
    model.save_pretrained(directory)


{"read": read, "write": write}[sys.argv[1]](*sys.argv[2:])
