"""Small GGUF files of gguf-py's writer: engine/checkpoints/gguf/container reads them, and writes the same bytes.

usage: python gguf_files.py FIXTURES_DIRECTORY

Needs numpy, gguf 0.19.
"""

import sys
from pathlib import Path

import numpy as np
from gguf import GGMLQuantizationType, GGUFValueType as Value, GGUFWriter

SCALARS = {
    "uint8": (Value.UINT8, 255),
    "int8": (Value.INT8, -128),
    "uint16": (Value.UINT16, 65535),
    "int16": (Value.INT16, -32768),
    "uint32": (Value.UINT32, 4294967295),
    "int32": (Value.INT32, -2147483648),
    "float32": (Value.FLOAT32, 0.1),
    "bool": (Value.BOOL, True),
    "uint64": (Value.UINT64, 18446744073709551615),
    "int64": (Value.INT64, -9223372036854775808),
    "float64": (Value.FLOAT64, 0.1),
}


def write(path, alignment):
    writer = GGUFWriter(path, "llama")
    if alignment != 32:
        writer.add_custom_alignment(alignment)
    for name, (kind, value) in SCALARS.items():
        writer.add_key_value(f"test.{name}", value, kind)
    writer.add_string("test.string", "Größe 🦙 \u2581")
    for name, (kind, value) in SCALARS.items():
        writer.add_key_value(f"test.{name}s", [value, type(value)(0), value], Value.ARRAY, sub_type=kind)
    writer.add_array("test.strings", ["", "a", "ü", "<|end|>"])
    values = np.arange(96, dtype=np.float32).reshape(3, 32) / 8
    writer.add_tensor("blk.0.attn_q.weight", values)
    writer.add_tensor("blk.0.attn_norm.weight", values[0, :5].copy())
    writer.add_tensor("cube", values.reshape(2, 3, 16).astype(np.float16))
    blocks = np.arange(3 * 34, dtype=np.uint8).reshape(3, 34)
    writer.add_tensor("blk.0.ffn_up.weight", blocks, raw_dtype=GGMLQuantizationType.Q8_0)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


directory = Path(sys.argv[1])
write(directory / "every-type.gguf", 32)
write(directory / "aligned-to-64.gguf", 64)
