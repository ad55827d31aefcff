"""Oracle for the solver: GPTQ in plain NumPy float64, written from the paper (Frantar et al. 2022, Algorithm 1 without batching).

    python test/oracles/gptq_numpy.py        writes engine/quantizers/fixtures/gptq.json

The inverse is formed and factorized, column after column, without blocks: slow and plain on purpose.
Scale search and refinement are the formulas of the documentation of engine/kernels, on whole matrices.
"""
import base64
import json
import pathlib

import numpy as np

OUT = pathlib.Path(__file__).parents[2] / "engine" / "quantizers" / "fixtures" / "gptq.json"
SMALLEST = 168 / 2**24
ROWS, COLUMNS, TOKENS = 24, 96, (150, 90, 203)


def encode(array, dtype):
    return base64.b64encode(np.ascontiguousarray(array, dtype=dtype).tobytes()).decode()


def half(x):
    return np.maximum(np.float16(x).astype(np.float64), SMALLEST)


def grid(low, high, levels, symmetric, minimum_zero):
    if symmetric:
        return half((high - low) / levels), np.full_like(low, (levels + 1) / 2)
    scale = half((high - low) / levels)
    zero = np.round(-low / scale)
    short = zero < minimum_zero
    scale = np.where(short, half(high / (levels - minimum_zero)), scale)
    return scale, np.clip(np.round(-low / scale), minimum_zero, levels)


def nearest(w, scale, zero, levels):
    return np.clip(np.round(w / scale) + zero, 0, levels)


def find_scale(w, importance, case):
    """w [rows, group] -> scale [rows], zero [rows]"""
    levels = 2 ** case["bits"] - 1
    low, high = np.minimum(w.min(1), 0), np.maximum(w.max(1), 0)
    empty = (low == 0) & (high == 0)
    low, high = np.where(empty, -1, low), np.where(empty, 1, high)
    if case["symmetric"]:
        high = np.maximum(high, -low)
        low = -high
    best = None
    for step in range(70 if case["scales"] == "search" else 1):
        p = 1 - step / 90
        scale, zero = grid(low * p, high * p, levels, case["symmetric"], case["minimumZero"])
        q = (nearest(w, scale[:, None], zero[:, None], levels) - zero[:, None]) * scale[:, None]
        error = ((q - w) ** 2 * importance).sum(1)
        if best is None:
            best = [error, scale, zero]
        else:
            better = error < best[0]
            best = [np.where(better, new, old) for new, old in zip((error, scale, zero), best)]
    return best[1], best[2]


def gptq(W, H, mean, order, group_of, case):
    """W, H in source order -> codes, scales, zeros; mean: mean live diagonal."""
    rows, columns = W.shape
    levels, groups = 2 ** case["bits"] - 1, group_of.max() + 1
    scales, zeros, codes = np.zeros((rows, groups)), np.zeros((rows, groups)), np.zeros(W.shape)
    if case["actOrder"] == "static":
        for g in range(groups):
            part = group_of == g
            scales[:, g], zeros[:, g] = find_scale(W[:, part], np.diag(H)[part], case)
    Hinv = np.linalg.inv(H[np.ix_(order, order)] + case["damping"] * mean * np.eye(columns))
    U = np.linalg.cholesky((Hinv + Hinv.T) / 2).T
    w = W[:, order].copy()
    known = set()
    for i in range(columns):
        g = group_of[order[i]]
        if case["actOrder"] != "static" and g not in known:
            known.add(g)
            members = [j for j in range(columns) if group_of[order[j]] == g]
            scales[:, g], zeros[:, g] = find_scale(w[:, members], np.diag(H)[order[members]], case)
        code = nearest(w[:, i], scales[:, g], zeros[:, g], levels)
        codes[:, order[i]] = code
        error = (w[:, i] - (code - zeros[:, g]) * scales[:, g]) / U[i, i]
        w[:, i + 1 :] -= np.outer(error, U[i, i + 1 :])
    return codes, scales, zeros


def row_errors(D, H):
    return np.einsum("rc,rc->r", D @ H, D)


def refine(W, H, codes, scales, zeros, group_of, order, case):
    """Row by row, column by column, everything recomputed from scratch."""
    levels = 2 ** case["bits"] - 1
    codes, scales = codes.copy(), scales.copy()
    for r in range(W.shape[0]):
        q, s, z = codes[r].copy(), scales[r].copy(), zeros[r]
        residual = lambda: W[r] - (q - z[group_of]) * s[group_of]
        error = residual() @ H @ residual()
        for _ in range(case["refinements"]):
            for g in range(len(s)):
                t = np.where(group_of == g, q - z[g], 0)
                curvature = t @ H @ t
                if curvature > 0:
                    wanted = np.float64(np.float16(s[g] + residual() @ H @ t / curvature))
                    if SMALLEST <= wanted < np.inf:
                        s[g] = wanted
            for c in order:
                g = group_of[c]
                now = (q[c] - z[g]) * s[g]
                q[c] = nearest(now + (residual() @ H[:, c]) / H[c, c], s[g], z[g], levels)
            after = residual() @ H @ residual()
            if after >= error:
                break
            error, codes[r], scales[r] = after, q, s
    return codes, scales


def solve(W, H_true, case):
    rows, columns = W.shape
    dead = np.diag(H_true) == 0
    size = columns if case["groupSize"] == -1 else case["groupSize"]
    falling = np.argsort(-np.diag(H_true), kind="stable")
    order = np.arange(columns) if case["actOrder"] == "none" or case["method"] == "rtn" else falling
    group_of = np.arange(columns) // size
    if case["actOrder"] == "dynamic" and case["method"] == "gptq":
        group_of = np.empty(columns, int)
        group_of[order] = np.arange(columns) // size
    if case["hessian"]:
        H, original, W = H_true.copy(), W, W.copy()
        mean = np.diag(H)[~dead].mean()
        H[dead, dead] = 1
        W[:, dead] = 0
    else:
        H, original = np.eye(columns), W
    if case["method"] == "gptq":
        codes, scales, zeros = gptq(W, H, mean, order, group_of, case)
    else:
        groups = group_of.max() + 1
        scales, zeros = np.zeros((rows, groups)), np.zeros((rows, groups))
        for g in range(groups):
            part = group_of == g
            scales[:, g], zeros[:, g] = find_scale(W[:, part], np.diag(H)[part], case)
        codes = nearest(W, scales[:, group_of], zeros[:, group_of], 2 ** case["bits"] - 1)
    dequantized = lambda: (codes - zeros[:, group_of]) * scales[:, group_of]
    energy = row_errors(W, H).sum()
    before = row_errors(W - dequantized(), H).sum() / energy
    if case["refinements"] and case["method"] == "gptq":
        # With dynamic groups the columns are visited in the order of the groups.
        visit = order if case["actOrder"] == "dynamic" else np.arange(columns)
        codes, scales = refine(W, H, codes, scales, zeros, group_of, visit, case)
    Q = dequantized()
    return {
        **case,
        "codes": encode(codes, "u1"),
        "scaleValues": encode(scales, "<f4"),
        "zeros": encode(zeros, "u1"),
        "groupOf": encode(group_of, "u1"),
        "relativeErrorBeforeRefinement": before if case["hessian"] else None,
        "relativeError": row_errors(W - Q, H).sum() / energy if case["hessian"] else None,
        "relativeWeightError": ((original - Q) ** 2).sum() / (original**2).sum(),
    }


def cases():
    base = {"method": "gptq", "damping": 0.01, "scales": "minmax", "refinements": 0, "minimumZero": 0, "hessian": True}
    bits = [2, 3, 4, 8, 5, 6]
    n = 0
    for act_order in ("none", "static", "dynamic"):
        for group in (32, 64, -1):
            for symmetric in (True, False):
                yield {**base, "bits": bits[n % 6], "groupSize": group, "symmetric": symmetric, "actOrder": act_order}
                n += 1
    search = {**base, "scales": "search"}
    yield {**search, "bits": 4, "groupSize": 32, "symmetric": True, "actOrder": "static"}
    yield {**search, "bits": 2, "groupSize": 32, "symmetric": False, "actOrder": "static", "minimumZero": 1}
    yield {**search, "bits": 3, "groupSize": 32, "symmetric": False, "actOrder": "dynamic"}
    for bits_, symmetric, act_order, rounds in ((4, True, "static", 3), (2, False, "static", 5), (3, True, "dynamic", 2)):
        yield {**search, "bits": bits_, "groupSize": 32, "symmetric": symmetric, "actOrder": act_order, "refinements": rounds}
    nearest_ = {**base, "method": "rtn", "actOrder": "none"}
    yield {**nearest_, "bits": 4, "groupSize": 64, "symmetric": True, "hessian": False}
    yield {**nearest_, "bits": 3, "groupSize": 32, "symmetric": False, "hessian": False, "minimumZero": 1}
    yield {**nearest_, "bits": 4, "groupSize": 32, "symmetric": True, "scales": "search"}
    yield {**nearest_, "bits": 2, "groupSize": -1, "symmetric": False, "scales": "search", "hessian": False}


def main():
    rng = np.random.default_rng(20221031)
    mix = rng.normal(size=(COLUMNS, COLUMNS)) * rng.random(COLUMNS) ** 3
    W = rng.normal(size=(ROWS, COLUMNS)).astype(np.float32)
    W[3, 32:64] = 0  # a group of zeros
    W[5] = np.abs(W[5])  # nothing below zero
    slices = []
    for tokens in TOKENS:
        X = (rng.normal(size=(tokens, COLUMNS)) @ mix).astype(np.float32)
        X[:, 17] = 0  # a dead input
        slices.append({"gram": X.T @ X, "tokens": tokens})
    H = sum(part["gram"].astype(np.float64) for part in slices) / sum(TOKENS)
    H = (H + H.T) / 2
    document = {
        "rows": ROWS,
        "columns": COLUMNS,
        "weight": encode(W, "<f4"),
        "partials": [{"gram": encode(part["gram"], "<f4"), "tokens": part["tokens"]} for part in slices],
        "hessianDiagonal": encode(np.diag(H), "<f8"),
        "hessianNorm": float(np.linalg.norm(H)),
        "cases": [solve(W.astype(np.float64), H, case) for case in cases()],
    }
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
