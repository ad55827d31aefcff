"""What gguf-py makes of a GGUF file: the SHA-256 of every dequantized matrix in blocks (float32, rows as in the source; of a stack those of all
experts), and its header.

usage: python gguf-reader.py MODEL.gguf
"""

import hashlib
import json
import sys

import numpy as np
from gguf import GGUFReader
from gguf.quants import dequantize

reader = GGUFReader(sys.argv[1])
fields = {key: field.contents() for key, field in reader.fields.items() if not key.startswith(("GGUF.", "tokenizer."))}
architecture = fields["general.architecture"]


def unpermuted(name, weight):
    """The inverse of LlamaModel.permute of llama.cpp's converter."""
    which = {"attn_q": "head_count", "attn_k": "head_count_kv"}.get(name.split(".")[-2])
    if architecture != "llama" or which is None:
        return weight
    heads = fields[f"{architecture}.attention.{which}"]
    return weight.reshape(heads, weight.shape[0] // heads // 2, 2, -1).swapaxes(1, 2).reshape(weight.shape)


weights = {}
for tensor in reader.tensors:
    if tensor.tensor_type.name in ("F32", "F16", "BF16"):
        continue
    weight = unpermuted(tensor.name, dequantize(tensor.data, tensor.tensor_type))
    matrices = weight if weight.ndim == 3 else [weight]
    digests = [hashlib.sha256(np.ascontiguousarray(matrix, dtype="<f4").tobytes()).hexdigest() for matrix in matrices]
    weights[tensor.name] = {"type": tensor.tensor_type.name, "sha256": digests}
print(json.dumps({"fields": fields, "weights": weights}))
