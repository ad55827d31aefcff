"""Writes engine/numbers/fixtures/float16.json: checksums of conversions done by numpy (float16) and torch (bfloat16).

Run from the repository root:  python test/oracles/float16.py
"""

import hashlib
import json
import warnings

import numpy as np
import torch

warnings.simplefilter("ignore")


def sha256(array):
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()


def hard_float32():
    """Float32 patterns: every float16 step boundary with its float32 neighbours, then a stride over all patterns."""
    half = np.arange(0x7C01, dtype=np.uint16).view(np.float16).astype(np.float64)
    half[-1] = 65536.0
    middle = ((half[:-1] + half[1:]) / 2).astype(np.float32).view(np.uint32).astype(np.int64)
    near = np.stack([np.maximum(middle - 1, 0), middle, middle + 1], axis=1).reshape(-1)
    stride = np.arange(0, 2**31, 65521, dtype=np.int64)
    positive = np.concatenate([near, stride])
    positive = positive[positive <= 0x7F800000]
    return np.concatenate([positive, positive + 2**31]).astype(np.uint32).view(np.float32)


def hard_float64():
    """Around every float16 step boundary, closer than float32 can tell."""
    half = np.arange(0x7C01, dtype=np.uint16).view(np.float16).astype(np.float64)
    half[-1] = 65536.0
    middle = (half[:-1] + half[1:]) / 2
    return np.stack([middle * (1 - 2.0**-50), middle, middle * (1 + 2.0**-50)], axis=1).reshape(-1)


def hard_bfloat16():
    upper = np.arange(65536, dtype=np.uint32)
    lower = np.array([0, 1, 0x7FFF, 0x8000, 0x8001, 0xFFFF], dtype=np.uint32)
    bits = ((upper[:, None] << 16) | lower[None, :]).reshape(-1)
    return bits[(bits & 0x7FFFFFFF) <= 0x7F800000].view(np.float32)


patterns = np.arange(65536, dtype=np.uint16)
decoded = patterns.view(np.float16).astype(np.float32)
inputs32, inputs64, inputs_bf = hard_float32(), hard_float64(), hard_bfloat16()
brain = torch.from_numpy(inputs_bf.copy()).to(torch.bfloat16).view(torch.int16).numpy().view(np.uint16)

fixture = {
    "numpy": np.__version__,
    "torch": torch.__version__,
    "decodedNotNan": sha256(decoded[~np.isnan(decoded)]),
    "nanPatterns": int(np.isnan(decoded).sum()),
    "hardFloat32": {"count": len(inputs32), "input": sha256(inputs32), "float16": sha256(inputs32.astype(np.float16))},
    "hardFloat64": {"count": len(inputs64), "input": sha256(inputs64), "float16": sha256(inputs64.astype(np.float16))},
    "hardBfloat16": {"count": len(inputs_bf), "input": sha256(inputs_bf), "bfloat16": sha256(brain)},
}
with open("engine/numbers/fixtures/float16.json", "w") as file:
    file.write(json.dumps(fixture, indent=2) + "\n")
