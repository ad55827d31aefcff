"""Fixture for engine/scaling: AWQ's search of scales, in numpy, from the definition (Lin et al. 2023, section 3.2; duo scaling as in AutoAWQ).

usage: awq_scales.py OUT_DIRECTORY   (needs numpy, safetensors)

Two linears share an input of 64 channels, a third reads 48 channels of which 16 and 16 share scales (two heads of 8 per value). The error of a
candidate is measured on the inputs themselves, |x (W' - W)ᵀ|² per token, not by a Hessian.
"""

import os
import sys

import numpy as np
from safetensors.numpy import save_file

GROUP = 16


def quantize(w):
    """Asymmetric 4 bits, scales in float16, from the extremes of each group of columns."""
    rows, columns = w.shape
    groups = w.reshape(rows, columns // GROUP, GROUP)
    low = np.minimum(groups.min(-1, keepdims=True), 0)
    high = np.maximum(groups.max(-1, keepdims=True), 0)
    scale = ((high - low) / 15).astype(np.float16).astype(np.float64)
    zero = np.clip(np.round(-low / scale), 0, 15)
    return ((np.clip(np.round(groups / scale) + zero, 0, 15) - zero) * scale).reshape(rows, columns)


def magnitudes(weights):
    stacked = np.concatenate(weights).astype(np.float64)
    groups = np.abs(stacked).reshape(len(stacked), -1, GROUP)
    return (groups / (groups.max(-1, keepdims=True) + 1e-6)).reshape(stacked.shape).mean(0)


def search(x, weights, share):
    """share: [channels], the number of each channel's scale."""
    count = share.max() + 1
    mean = lambda values: np.array([values[share == s].mean() for s in range(count)])
    inputs = np.sqrt(mean((x**2).mean(0)))
    relative = mean(magnitudes(weights))
    best = None
    for by_weights in (False, True):
        for step in range(20):
            ratio = step / 20
            s = inputs**ratio / (relative ** (1 - ratio) + 1e-4) if by_weights else inputs**ratio
            s = np.maximum(s, 1e-4)
            s = s / np.sqrt(s.max() * s.min())
            full = s.astype(np.float32)[share].astype(np.float64)
            error = 0
            for w in weights:
                scaled = (w * full.astype(np.float32)).astype(np.float64)
                error += (((x / full) @ (quantize(scaled) - scaled).T) ** 2).sum() / len(x)
            if best is None:
                unscaled = error
            if best is None or error < best[0]:
                best = (error, s, ratio, by_weights)
    return best, unscaled


rng = np.random.default_rng(7)
tensors = {}
cases = {"shared": ([40, 24], np.arange(64)), "heads": ([32], (np.arange(48) // 16) * 8 + np.arange(48) % 8)}
for name, (rows, share) in cases.items():
    columns = len(share)
    x = rng.standard_normal((512, columns)) * np.exp(1.5 * rng.standard_normal(columns))
    x = (x + 0.3 * x[:, ::-1]).astype(np.float32).astype(np.float64)
    weights = [rng.standard_normal((n, columns)).astype(np.float32) for n in rows]
    (error, scales, ratio, by_weights), unscaled = search(x, weights, share)
    print(name, "ratio", ratio, "by weights", by_weights, "error", error / unscaled)
    tensors[f"{name}.hessian"] = (x.T @ x / len(x)).astype(np.float32)
    for index, weight in enumerate(weights):
        tensors[f"{name}.weight.{index}"] = weight
    tensors[f"{name}.scales"] = scales.astype(np.float32)
    tensors[f"{name}.expected"] = np.array([ratio, by_weights, error / unscaled], np.float32)
save_file(tensors, os.path.join(sys.argv[1], "scales.safetensors"))
