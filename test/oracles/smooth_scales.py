"""Fixture for engine/scaling: the scales of SmoothQuant (Xiao et al. 2022, equation 4, strength 0.5), in numpy, from the definition.

usage: smooth_scales.py OUT_FILE   (needs numpy)

Magnitudes of inputs are root mean squares. Two linears share an input of 6 channels, of which the third is never seen; a third reads 8 channels, of
which 2 and 2 share scales (two heads of 2 per value).
"""

import json
import sys

import numpy as np

rng = np.random.default_rng(7)


def case(linears, columns, share, dead):
    x = rng.normal(size=(40, columns)) * rng.uniform(0.1, 9, columns)
    if dead is not None:
        x[:, dead] = 0
    weights = [rng.normal(size=(5, columns)).astype(np.float32) for _ in range(linears)]
    squares = (x**2).mean(0)
    count = share.max() + 1
    mean = lambda values: np.array([values[share == s].mean() for s in range(count)])
    largest = mean(np.abs(np.concatenate(weights)).max(0).astype(np.float64))
    s = np.sqrt(mean(squares)) ** 0.5 / largest**0.5
    live = s > 0
    s = np.where(live, s / np.sqrt(s[live].min() * s[live].max()), 1)
    return {"meanSquares": squares.tolist(), "weights": [w.ravel().tolist() for w in weights], "scales": s.tolist()}


channels = np.arange(8)
cases = {
    "shared": case(2, 6, np.arange(6), 2),
    "heads": case(1, 8, channels // 4 * 2 + channels % 2, None),
}
with open(sys.argv[1], "w") as file:
    json.dump(cases, file)
    file.write("\n")
