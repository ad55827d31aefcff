"""Fixture of engine/checkpoints/gguf: what llama.cpp's own converter makes of a model, by gguf-py's reader.

usage: python gguf_model.py MODEL.gguf FIXTURE.json

MODEL.gguf: `python convert_hf_to_gguf.py MODEL_DIRECTORY --outtype f16` of llama.cpp. For the demo model, whose tokenizer no
released model has, TextModel.get_vocab_base_pre has to be made to return "gpt-2"; for tiny models of engine/graphs/fixtures "qwen2", and
LlamaModel.set_vocab to call _set_vocab_gpt2. Needs gguf 0.19.
"""

import hashlib
import json
import sys

from gguf import GGUFReader


def shown(field):
    """Long lists by their checksum: SHA-256 of their items, each followed by a zero byte."""
    value = field.contents()
    if isinstance(value, list) and len(value) > 16:
        return {"length": len(value), "sha256": hashlib.sha256("".join(f"{item}\0" for item in value).encode()).hexdigest()}
    return value


reader = GGUFReader(sys.argv[1])
fixture = {
    "metadata": {
        key: {"types": [kind.name.lower() for kind in field.types], "value": shown(field)}
        for key, field in reader.fields.items()
        if not key.startswith("GGUF.")
    },
    "tensors": {
        tensor.name: {
            "type": tensor.tensor_type.name,
            "shape": [int(size) for size in reversed(tensor.shape)],
            "sha256": hashlib.sha256(tensor.data.tobytes()).hexdigest(),
        }
        for tensor in reader.tensors
    },
}
with open(sys.argv[2], "w", encoding="utf-8") as file:
    json.dump(fixture, file, indent=1)
    file.write("\n")
