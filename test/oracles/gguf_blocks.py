"""Fixtures of engine/checkpoints/gguf/blocks: what gguf-py makes of blocks, and how far llama.cpp's searches get.

usage: python gguf_blocks.py FIXTURES_DIRECTORY DEMO_MODEL_DIRECTORY [LIBGGML_BASE]

needs: numpy, gguf 0.19. LIBGGML_BASE is a libggml-base shared library (node-llama-cpp ships one); without it the errors of
llama.cpp's searches are left as they are.
"""

import base64
import ctypes
import json
import sys
from pathlib import Path

import gguf
import numpy as np
from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType as Type

EXACT = ["F16", "BF16", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "TQ1_0", "TQ2_0", "MXFP4"]
SEARCHED = ["Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "IQ4_NL", "IQ4_XS"]
WITH_IMPORTANCE = ["Q4_0", "Q4_1", "Q5_0", "Q5_1"]


def text(array):
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()


def hard_values(rng):
    """Rows of 256: normal, heavy tails, zeros, one value, ties, subnormals, huge, all of one sign, ternary, powers of two."""
    normal = rng.standard_normal(256) * 0.05
    heavy = rng.standard_t(2, 256) * 0.02
    zeros = np.where(rng.random(256) < 0.5, 0, normal)
    zeros[:64] = 0
    zeros[64:96] = -0.0
    ties = rng.integers(-8, 9, 256) / 2
    ties[::32] = rng.choice([-8.0, 8.0], 8)
    halves = rng.integers(-127, 128, 256) / 2
    halves[::32] = 127
    ternary = rng.integers(-1, 2, 256) * 0.0371
    quarters = rng.integers(-2, 3, 256) / 2
    near_powers = np.float32(2.0) ** rng.integers(-20, 5, 256).astype(np.float32)
    near_powers = np.nextafter(near_powers, np.float32(rng.choice([-1, 1])) * np.float32(1e9), dtype=np.float32)
    e2m1 = rng.choice([0, 0.25, 0.5, 0.75, 1, 1.25, 1.75, 2.5, 3.5, 5, 6], 256) * rng.choice([-1, 1], 256) * 2.0**-7
    rows = [
        normal,
        heavy,
        zeros,
        ties,
        halves,
        normal * 1e-38,
        normal * 1e-6,
        np.clip(normal * 1e6, -65504, 65504),
        np.abs(normal) + 0.01,
        -np.abs(normal) - 0.01,
        ternary,
        quarters,
        near_powers,
        e2m1,
        np.full(256, 0.3),
    ]
    return np.array(rows, dtype=np.float32)


def random_blocks(name, rng):
    _, size = GGML_QUANT_SIZES[Type[name]]
    return rng.integers(0, 256, (12 if size > 4 else 64, size), dtype=np.uint8)


def decoded_fixture(rng):
    fixture = {}
    for name in ["F32", *EXACT, *SEARCHED]:
        blocks = random_blocks(name, rng)
        with np.errstate(all="ignore"):
            values = gguf.quants.dequantize(blocks, Type[name]).astype(np.float32)
        fixture[name] = {"id": int(Type[name]), "sizes": GGML_QUANT_SIZES[Type[name]], "blocks": text(blocks), "values": text(values)}
    return fixture


def encoded_fixture(rng):
    values = hard_values(rng)
    blocks = {}
    with np.errstate(all="ignore"):
        for name in EXACT:
            rows = values
            if name == "MXFP4":  # below 2^-125 its exponent wraps around
                rows = np.where(np.abs(values) < 2.0**-100, 0, values).astype(np.float32)
            blocks[name] = text(gguf.quants.quantize(rows, Type[name]).view(np.uint8))
    return {"rows": len(values), "columns": 256, "values": text(values), "blocks": blocks}


def demo_tensor(directory, name):
    data = (directory / "model.safetensors").read_bytes()
    length = int.from_bytes(data[:8], "little")
    info = json.loads(data[8 : 8 + length])[name]
    start, end = info["data_offsets"]
    bits = np.frombuffer(data[8 + length + start : 8 + length + end], dtype=np.uint16)
    return (bits.astype(np.uint32) << 16).view(np.float32).reshape(info["shape"])


def importance_of(columns):
    """Heavy-tailed, as mean squares of activations are; the same numbers in the test."""
    column = np.arange(columns)
    spread = (column * 37 % 101 + 1) / 50
    return (spread**3).astype(np.float32)


def errors_fixture(directory, library):
    ggml = ctypes.CDLL(library)
    ggml.ggml_quantize_chunk.restype = ctypes.c_size_t
    pointer = ctypes.POINTER(ctypes.c_float)
    ggml.ggml_quantize_chunk.argtypes = [ctypes.c_int, pointer, ctypes.c_void_p] + [ctypes.c_int64] * 3 + [pointer]
    fixture = {}
    for tensor in ["model.layers.1.self_attn.q_proj.weight", "model.layers.2.mlp.down_proj.weight"]:
        values = np.ascontiguousarray(demo_tensor(directory, tensor)[:64])
        rows, columns = values.shape
        importance = importance_of(columns)
        fixture[tensor] = {}
        for name in [*SEARCHED, *WITH_IMPORTANCE]:
            size, bytes_ = GGML_QUANT_SIZES[Type[name]]
            blocks = np.zeros((rows, columns // size * bytes_), dtype=np.uint8)
            ggml.ggml_quantize_chunk(
                int(Type[name]), values.ctypes.data_as(pointer), blocks.ctypes.data, 0, rows, columns, importance.ctypes.data_as(pointer)
            )
            difference = values.astype(np.float64) - gguf.quants.dequantize(blocks, Type[name])
            fixture[tensor][name] = float((difference**2 * importance).sum())
    return fixture


def main():
    fixtures, model = Path(sys.argv[1]), Path(sys.argv[2])
    rng = np.random.default_rng(2026)
    (fixtures / "decoded-blocks.json").write_text(json.dumps(decoded_fixture(rng), indent=1) + "\n")
    (fixtures / "encoded-blocks.json").write_text(json.dumps(encoded_fixture(rng), indent=1) + "\n")
    if len(sys.argv) > 3:
        errors = errors_fixture(model, sys.argv[3])
        (fixtures / "search-errors.json").write_text(json.dumps(errors, indent=1) + "\n")


main()
