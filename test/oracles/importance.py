"""
Importance matrices for engine/checkpoints/gguf/importance/fixtures.

    python test/oracles/importance.py FIXTURES MODEL...

MODEL: assets/demo-model, and tiny models of engine/graphs/fixtures. transformers computes a model in float32 on fixed tokens, hooks sum the
squares of what comes into every linear, and gguf-py writes them as llama.cpp's tools/imatrix does, as NAME.gguf; those of the demo model also in the
legacy form, as demo.dat. Needs torch, transformers, gguf, numpy.
"""

import re
import struct
import sys
from pathlib import Path

import gguf
import numpy as np
import torch
from transformers import AutoModelForCausalLM

NAMES = {
    "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down",
    "mlp.shared_expert.gate_proj": "ffn_gate_shexp", "mlp.shared_expert.up_proj": "ffn_up_shexp",
    "mlp.shared_expert.down_proj": "ffn_down_shexp",
    "self_attn.qkv_proj": "attn_qkv", "mlp.gate_up_proj": "ffn_up",
    "attn.c_attn": "attn_qkv", "attn.c_proj": "attn_output", "mlp.c_fc": "ffn_up", "mlp.c_proj": "ffn_down",
}  # fmt: skip
SEQUENCES, LENGTH = 4, 64
DATASET = "fixed-tokens"


def calibrate(directory):
    options = {"dtype": torch.float32, "experts_implementation": "eager", "attn_implementation": "eager"}
    model = AutoModelForCausalLM.from_pretrained(directory, **options).eval()
    tokens = (torch.arange(SEQUENCES * LENGTH) * 37 % model.config.vocab_size).reshape(SEQUENCES, LENGTH)
    sums, counts = {}, {}

    def add(name, x, expert=0, experts=1):
        x = x.reshape(-1, x.shape[-1]).double()
        sums.setdefault(name, torch.zeros(experts, x.shape[-1], dtype=torch.double))[expert] += (x * x).sum(0)
        counts.setdefault(name, torch.zeros(experts))[expert] += len(x)

    def linear_hook(name):
        return lambda module, inputs, output: add(name, inputs[0])

    def experts_hook(layer):
        def hook(module, inputs, output):
            hidden, chosen = inputs[0].reshape(-1, inputs[0].shape[-1]), inputs[1]
            experts = len(module.gate_up_proj)
            for expert in range(experts):
                x = hidden[(chosen == expert).any(-1)]
                gate, up = torch.nn.functional.linear(x, module.gate_up_proj[expert]).chunk(2, -1)
                add(f"blk.{layer}.ffn_gate_exps.weight", x, expert, experts)
                add(f"blk.{layer}.ffn_up_exps.weight", x, expert, experts)
                add(f"blk.{layer}.ffn_down_exps.weight", torch.nn.functional.silu(gate) * up, expert, experts)

        return hook

    for path, module in model.named_modules():
        found = re.fullmatch(r"(?:model\.layers|transformer\.h)\.(\d+)\.(.*)", path)
        if found and found[2] in NAMES:
            module.register_forward_hook(linear_hook(f"blk.{found[1]}.{NAMES[found[2]]}.weight"))
        elif hasattr(module, "gate_up_proj") and isinstance(module.gate_up_proj, torch.nn.Parameter):
            module.register_forward_hook(experts_hook(found[1]))
    with torch.no_grad():
        model(tokens)
    return sums, counts


def write(path, sums, counts):
    writer = gguf.GGUFWriter(path, "")
    # The writer begins with an architecture, which such a file does not have.
    writer.kv_data[0].pop("general.architecture", None)
    writer.add_type("imatrix")
    writer.add_array("imatrix.datasets", [DATASET])
    writer.add_uint32("imatrix.chunk_count", SEQUENCES)
    writer.add_uint32("imatrix.chunk_size", LENGTH)
    for name in sorted(sums):
        experts = len(sums[name])
        values = sums[name].numpy().astype(np.float32)
        writer.add_tensor(f"{name}.in_sum2", values if experts > 1 else values[0])
        writer.add_tensor(f"{name}.counts", counts[name].numpy().astype(np.float32).reshape((experts, 1) if experts > 1 else 1))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def write_legacy(path, sums, counts):
    with open(path, "wb") as file:
        file.write(struct.pack("<i", len(sums)))
        for name in sums:
            # Mean squares times the calls; a call is a chunk.
            values = (sums[name][0] / counts[name][0] * SEQUENCES).numpy().astype("<f4")
            file.write(struct.pack("<i", len(name)) + name.encode())
            file.write(struct.pack("<ii", SEQUENCES, len(values)) + values.tobytes())
        file.write(struct.pack("<ii", SEQUENCES, len(DATASET)) + DATASET.encode())


def main(fixtures, *models):
    for model in models:
        name = "demo" if Path(model).name == "demo-model" else Path(model).name
        sums, counts = calibrate(model)
        write(Path(fixtures) / f"{name}.gguf", sums, counts)
        if name == "demo":
            write_legacy(Path(fixtures) / "demo.dat", sums, counts)


main(*sys.argv[1:])
