"""
Importance matrices for engine/checkpoints/gguf/importance/fixtures.

    python test/oracles/importance.py MODEL FIXTURES

MODEL: assets/demo-model. transformers computes the model in float32 on fixed tokens, hooks sum the squares of what comes into every linear,
and gguf-py writes them as llama.cpp's tools/imatrix does: demo.gguf in the form of GGUF, demo.dat in the legacy form. Needs torch,
transformers, gguf, numpy.
"""

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
}  # fmt: skip
SEQUENCES, LENGTH = 4, 64
DATASET = "fixed-tokens"


def gguf_name(module):
    _, _, layer, *rest = module.split(".")
    return f"blk.{layer}.{NAMES['.'.join(rest)]}.weight"


def main(model_directory, fixtures):
    model = AutoModelForCausalLM.from_pretrained(model_directory, dtype=torch.float32).eval()
    tokens = (torch.arange(SEQUENCES * LENGTH) * 37 % model.config.vocab_size).reshape(SEQUENCES, LENGTH)
    sums, counts = {}, {}

    def hook(module, inputs, _output):
        x = inputs[0].reshape(-1, inputs[0].shape[-1]).double()
        sums[module.name] = sums.get(module.name, 0) + (x * x).sum(0)
        counts[module.name] = counts.get(module.name, 0) + len(x)

    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Linear) and name != "lm_head":
            module.name = gguf_name(name)
            module.register_forward_hook(hook)
    with torch.no_grad():
        model(tokens)

    writer = gguf.GGUFWriter(Path(fixtures) / "demo.gguf", "")
    # The writer begins with an architecture, which such a file does not have.
    writer.kv_data[0].pop("general.architecture", None)
    writer.add_type("imatrix")
    writer.add_array("imatrix.datasets", [DATASET])
    writer.add_uint32("imatrix.chunk_count", SEQUENCES)
    writer.add_uint32("imatrix.chunk_size", LENGTH)
    for name in sorted(sums):
        writer.add_tensor(f"{name}.in_sum2", sums[name].numpy().astype(np.float32))
        writer.add_tensor(f"{name}.counts", np.array([counts[name]], np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()

    with open(Path(fixtures) / "demo.dat", "wb") as file:
        file.write(struct.pack("<i", len(sums)))
        for name in sums:
            # Mean squares times the calls; a call is a chunk.
            values = (sums[name] / counts[name] * SEQUENCES).numpy().astype("<f4")
            file.write(struct.pack("<i", len(name)) + name.encode())
            file.write(struct.pack("<ii", SEQUENCES, len(values)) + values.tobytes())
        file.write(struct.pack("<ii", SEQUENCES, len(DATASET)) + DATASET.encode())


main(*sys.argv[1:])
