"""The kernels as NumPy and torch have them, for bench/kernels.ts: one JSON object per line in, seconds out.

Written from the paper (Frantar et al. 2022, Algorithm 1) in the calls that GPTQ in torch is made of: cholesky, cholesky_inverse,
cholesky(upper=True), and a column loop in batches of 128.
"""
import json
import sys
import time

import numpy as np
import torch

BATCH = 128


def hessian(n):
    """As bench/kernels.ts makes it: 0.9^|i-j| with a gain per column, damped by 0.01 of the mean."""
    i = np.arange(n)
    gain = 1 + (i * 7 % 5) / 3
    h = 0.9 ** np.abs(i[:, None] - i) * gain[:, None] * gain
    h[i, i] += 0.01 * h.diagonal().mean()
    return h


def weights(rows, columns):
    i = np.arange(rows * columns, dtype=np.float64)
    return np.sin(0.37 * i * i + i).reshape(rows, columns)


def inverse_factor(h):
    lower = torch.linalg.cholesky(h)
    return torch.linalg.cholesky(torch.cholesky_inverse(lower), upper=True)


def column_loop(w, u, group, bits):
    w = w.clone()
    rows, columns = w.shape
    levels = 2**bits - 1
    codes = torch.zeros_like(w, dtype=torch.uint8)
    scales = (2 * w.view(rows, -1, group).abs().amax(-1) / levels).clamp(min=1e-5)
    zero = (levels + 1) // 2
    for start in range(0, columns, BATCH):
        stop = min(start + BATCH, columns)
        part = w[:, start:stop].clone()
        errors = torch.zeros_like(part)
        u_part = u[start:stop, start:stop]
        for i in range(stop - start):
            column = part[:, i]
            scale = scales[:, (start + i) // group]
            code = torch.clamp(torch.round(column / scale) + zero, 0, levels)
            codes[:, start + i] = code
            error = (column - (code - zero) * scale) / u_part[i, i]
            part[:, i:] -= error.unsqueeze(1).matmul(u_part[i, i:].unsqueeze(0))
            errors[:, i] = error
        w[:, stop:] -= errors.matmul(u[start:stop, stop:])
    return codes


def scale_search(w, importance, group, bits):
    levels, zero = 2**bits - 1, 2 ** (bits - 1)
    parts = w.view(w.shape[0], -1, group)
    importance = importance.view(1, -1, group)
    widest = 2 * parts.abs().amax(-1, keepdim=True) / levels
    best, scales = torch.full_like(widest, torch.inf), widest.clone()
    for step in range(70):
        scale = (widest * (1 - step / 90)).half().to(w.dtype)
        quantized = (torch.clamp(torch.round(parts / scale) + zero, 0, levels) - zero) * scale
        error = ((quantized - parts) ** 2 * importance).sum(-1, keepdim=True)
        better = error < best
        best, scales = torch.where(better, error, best), torch.where(better, scale, scales)
    return scales


cache = {}


def prepared(key, make):
    if key not in cache:
        cache.clear()
        cache[key] = make()
    return cache[key]


def work(task):
    n, kind, library = task["columns"], task["kernel"], task["library"]
    if library == "numpy":
        h = prepared(("np", n), lambda: hessian(n))
        if kind == "cholesky":
            return lambda: np.linalg.cholesky(h)
        return lambda: np.linalg.cholesky(np.linalg.inv(h))
    dtype = torch.float32 if library == "torch float32" else torch.float64
    h = prepared((library, n), lambda: torch.from_numpy(hessian(n)).to(dtype))
    if kind == "cholesky":
        return lambda: torch.linalg.cholesky(h)
    if kind == "inverse factor":
        return lambda: inverse_factor(h)
    w = torch.from_numpy(weights(task["rows"], n)).to(dtype)
    if kind == "column loop":
        u = inverse_factor(h)
        return lambda: column_loop(w, u, 64, 4)
    return lambda: scale_search(w, h.diagonal().contiguous(), 64, 4)


torch.set_num_threads(int(sys.argv[1]))
torch.set_grad_enabled(False)
for line in sys.stdin:
    run = work(json.loads(line))
    began = time.perf_counter()
    run()
    print(json.dumps({"seconds": time.perf_counter() - began}), flush=True)
