"""Fixture of engine/checkpoints/gguf/models: names by gguf-py, and Llama 3's rotary factors.

usage: python gguf_names.py FIXTURE.json

Needs torch, gguf 0.19. The factors are the formula of llama.cpp's conversion/llama.py (generate_extra_tensors), which is that of
`_compute_llama3_parameters` in transformers, in torch's float32.
"""

import json
import math
import sys

import gguf
import torch

ATTENTION = [f"self_attn.{part}_proj" for part in "qkvo"]
MLP = [f"mlp.{part}_proj" for part in ["gate", "up", "down"]]
NORMS = ["input_layernorm", "post_attention_layernorm"]
HEAD_NORMS = ["self_attn.q_norm", "self_attn.k_norm"]
BRANCH_NORMS = ["pre_feedforward_layernorm", "post_feedforward_layernorm"]
MODULES = {
    "LLAMA": NORMS + ATTENTION + MLP,
    "QWEN2": NORMS + ATTENTION + MLP,
    "QWEN3": NORMS + HEAD_NORMS + ATTENTION + MLP,
    "PHI3": NORMS + ["self_attn.qkv_proj", "self_attn.o_proj", "mlp.gate_up_proj", "mlp.down_proj"],
    "GEMMA2": NORMS + BRANCH_NORMS + ATTENTION + MLP,
    "GEMMA3": NORMS + BRANCH_NORMS + HEAD_NORMS + ATTENTION + MLP,
    "GPT2": ["ln_1", "attn.c_attn", "attn.c_proj", "ln_2", "mlp.c_fc", "mlp.c_proj"],
}


def names_of(arch):
    if arch == "GPT2":
        outside, layers, biased = ["transformer.wte", "transformer.wpe", "transformer.ln_f"], "transformer.h", "attn.c_attn"
    else:
        outside, layers, biased = ["model.embed_tokens", "model.norm"], "model.layers", "self_attn.q_proj"
    names = [f"{module}.weight" for module in outside + ["lm_head"]]
    names += [f"{layers}.{layer}.{module}.weight" for layer in [0, 11] for module in MODULES[arch]]
    return names + ([f"{layers}.11.{biased}.bias"] if biased in MODULES[arch] else [])


SCALINGS = [
    {"theta": 500000.0, "headSize": 64, "factor": 32.0, "low": 1.0, "high": 4.0, "original": 8192},
    {"theta": 500000.0, "headSize": 128, "factor": 8.0, "low": 1.0, "high": 4.0, "original": 8192},
]


def factors(scaling):
    dim = scaling["headSize"]
    freqs = 1.0 / (scaling["theta"] ** (torch.arange(0, dim, 2, dtype=torch.float32) / dim))
    found = []
    for freq in freqs:
        wavelen = 2 * math.pi / freq
        if wavelen < scaling["original"] / scaling["high"]:
            found.append(1)
        elif wavelen > scaling["original"] / scaling["low"]:
            found.append(scaling["factor"])
        else:
            smooth = (scaling["original"] / wavelen - scaling["low"]) / (scaling["high"] - scaling["low"])
            found.append(1 / ((1 - smooth) / scaling["factor"] + smooth))
    return torch.tensor(found, dtype=torch.float32).tolist()


names = {}
for arch in MODULES:
    mapping = gguf.get_tensor_name_map(gguf.MODEL_ARCH[arch], 12)
    names[arch.lower()] = {name: mapping.get_name(name, try_suffixes=(".weight", ".bias")) for name in names_of(arch)}
rows = torch.arange(4 * 6).reshape(4, 2, 3).swapaxes(1, 2).flatten().tolist()
fixture = {"names": names, "permuted": rows, "scalings": [{**scaling, "factors": factors(scaling)} for scaling in SCALINGS]}
with open(sys.argv[1], "w", encoding="utf-8") as file:
    json.dump(fixture, file, indent=1)
    file.write("\n")
