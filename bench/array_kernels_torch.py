"""The kernels around the solver as NumPy and torch have them, for bench/array-kernels.ts: one JSON object per line in, seconds out."""
import json
import sys
import time

import numpy as np
import torch

GROUP = 64


def pack(codes, bits):
    """Codes [columns, rows] to words [columns * bits / 32, rows], for widths that divide 32."""
    per_word = 32 // bits
    words = np.zeros((codes.shape[0] // per_word, codes.shape[1]), np.uint32)
    for i in range(per_word):
        words |= codes[i::per_word].astype(np.uint32) << np.uint32(bits * i)
    return words


def unpack(words, bits):
    shifts = np.arange(0, 32, bits, dtype=np.uint32)[None, :, None]
    codes = (words[:, None, :] >> shifts) & np.uint32(2**bits - 1)
    return codes.reshape(-1, words.shape[1]).astype(np.uint8)


def merge(partials, tokens):
    total = np.zeros(partials[0].shape)
    for partial in partials:
        total += partial
    return (total + total.T) / (2 * tokens)


def dequantize(codes, zeros, scales):
    rows = codes.shape[0]
    grouped = codes.view(rows, -1, GROUP).float() - zeros.float().unsqueeze(-1)
    return (grouped * scales.unsqueeze(-1)).view(rows, -1)


cache = {}


def work(task):
    kernel, library, rows, n = task["kernel"], task["library"], task["rows"], task["columns"]
    outputs = task.get("outputs")
    key = (kernel, library, rows, n, outputs)
    if key not in cache:
        if len(cache) > 3:
            cache.clear()
        cache[key] = prepare(kernel, library, rows, n, outputs)
    return cache[key]


def prepare(kernel, library, rows, n, outputs):
    generator = np.random.default_rng(1)
    if kernel == "merge":
        partials = [generator.standard_normal((n, n), np.float32) for _ in range(rows)]
        return lambda: merge(partials, 1000)
    x = generator.standard_normal((rows, n), np.float32)
    if kernel == "gram":
        if library == "numpy":
            return lambda: x.T @ x
        t = torch.from_numpy(x).to(torch.bfloat16 if library == "torch bfloat16" else torch.float32)
        return lambda: t.T @ t
    if kernel == "linear":
        w = generator.standard_normal((outputs, n), np.float32)
        if library == "numpy":
            return lambda: x @ w.T
        dtype = torch.bfloat16 if library == "torch bfloat16" else torch.float32
        a, b = torch.from_numpy(x).to(dtype), torch.from_numpy(w).to(dtype)
        return lambda: torch.nn.functional.linear(a, b)
    codes = generator.integers(0, 16, (rows, n), np.uint8)
    if kernel == "dequantize":
        zeros = torch.full((rows, n // GROUP), 8, dtype=torch.uint8)
        parts = torch.from_numpy(codes), zeros, torch.rand(rows, n // GROUP)
        return lambda: dequantize(*parts)
    if kernel.startswith(("pack", "unpack")):
        bits = int(kernel.split()[1])
        # From codes [rows, columns] and back to them.
        if kernel.startswith("pack"):
            return lambda: pack(np.ascontiguousarray(codes.T), bits)
        words = pack(np.ascontiguousarray(codes.T), bits)
        return lambda: np.ascontiguousarray(unpack(words, bits).T)
    verb, name = kernel.split()
    if library == "numpy":
        halves = x.astype(np.float16)
        return (lambda: halves.astype(np.float32)) if verb == "decode" else (lambda: x.astype(np.float16))
    single, half = torch.from_numpy(x), torch.float16 if name == "F16" else torch.bfloat16
    halves = single.to(half)
    return (lambda: halves.to(torch.float32)) if verb == "decode" else (lambda: single.to(half))


torch.set_num_threads(int(sys.argv[1]))
torch.set_grad_enabled(False)
clock = time.process_time if sys.argv[2] == "cpu" else time.perf_counter
for line in sys.stdin:
    run = work(json.loads(line))
    began = clock()
    run()
    print(json.dumps({"seconds": clock() - began}), flush=True)
