"""Weights and logits of a compressed-tensors checkpoint as transformers and compressed-tensors have them.

usage: compressed-tensors.py DIRECTORY DENSE IDS   (needs: torch, transformers, compressed-tensors)

DENSE: a directory with the same model, dequantized by Quantloom. IDS: token ids, separated by commas. Prints one JSON object: `weights`,
by module the SHA-256 of the weight that decompression gives in float32; `difference` of the logits of the two, the largest, and their `spread`.
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

import torch
from transformers import AutoModelForCausalLM

directory, dense, ids = sys.argv[1], sys.argv[2], [int(word) for word in sys.argv[3].split(",")]
torch.set_num_threads(int(os.environ.get("THREADS", "2")))


def logits_of(model):
    with torch.inference_mode():
        return model.eval()(input_ids=torch.tensor([ids])).logits


model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32)
logits = logits_of(model)  # decompresses
weights = {}
for name, module in model.named_modules():
    if not hasattr(module, "quantization_scheme"):
        continue
    assert module.weight.dtype == torch.float32, (name, module.weight.dtype)
    weights[name] = hashlib.sha256(module.weight.detach().contiguous().numpy().tobytes()).hexdigest()
expected = logits_of(AutoModelForCausalLM.from_pretrained(dense, dtype=torch.float32))
print(json.dumps({
    "weights": weights,
    "difference": (logits - expected).abs().max().item(),
    "spread": expected.std().item(),
}))
