"""
Which types llama.cpp's quantize gives the matrices of models, for engine/checkpoints/gguf/mixes/fixtures/mixes.json.

    python test/oracles/gguf_mixes.py LIBRARIES FIXTURE [experts]

With `experts` of mixtures of experts, for mixes-of-experts.json.

LIBRARIES: the directory with libllama.so and its kin, e.g. node_modules/@node-llama-cpp/linux-x64/bins/linux-x64. The layout of the
parameters is that of llama.h in the release that node-llama-cpp 3.22.1 comes with. Needs gguf, numpy.
"""

import ctypes
import glob
import json
import os
import sys
import tempfile

import gguf
import numpy as np

FILE_TYPES = {
    "q2_k": 10, "q2_k_s": 21, "q3_k_s": 11, "q3_k_m": 12, "q3_k_l": 13, "q4_0": 2, "q4_1": 3, "q4_k_s": 14, "q4_k_m": 15,
    "q5_0": 8, "q5_1": 9, "q5_k_s": 16, "q5_k_m": 17, "q6_k": 18, "q8_0": 7, "iq4_nl": 25, "iq4_xs": 30, "tq1_0": 36, "tq2_0": 37,
    "mxfp4_moe": 38,
}  # fmt: skip
NEED_IMPORTANCE = {"q2_k_s"}
# Architecture, layers, heads, heads of keys and values, columns of down, of all others, tied.
MODELS = [
    ("llama", 32, 8, 8, 512, 256, False),
    ("llama", 30, 8, 2, 512, 256, True),
    ("llama", 80, 8, 2, 512, 256, False),
    ("llama", 80, 8, 8, 512, 256, False),
    ("qwen2", 80, 8, 8, 512, 256, False),
    ("llama", 5, 9, 3, 512, 288, True),
    ("llama", 17, 8, 4, 288, 256, False),
    ("llama", 4, 4, 2, 544, 288, False),
]
# The same, and experts, whether there is a shared one.
EXPERT_MODELS = [
    ("llama", 32, 8, 2, 512, 256, False, 8, False),
    ("llama", 17, 8, 8, 288, 256, True, 8, False),
    ("llama", 80, 8, 2, 512, 256, False, 4, False),
    ("qwen2moe", 24, 4, 4, 768, 256, False, 6, True),
    ("qwen2moe", 5, 9, 3, 512, 288, False, 8, True),
    ("qwen3moe", 48, 8, 1, 512, 256, False, 6, False),
    ("qwen3moe", 80, 8, 2, 544, 256, True, 6, False),
]
PARTS = ["attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"]
EXPERT_PARTS = PARTS[:4] + ["ffn_gate_inp", "ffn_gate_exps", "ffn_up_exps", "ffn_down_exps"]
SHARED_PARTS = ["ffn_gate_inp_shexp", "ffn_gate_shexp", "ffn_up_shexp", "ffn_down_shexp"]
ROWS = 2


class Importance(ctypes.Structure):
    _fields_ = [("name", ctypes.c_char_p), ("data", ctypes.POINTER(ctypes.c_float)), ("size", ctypes.c_size_t)]


class Parameters(ctypes.Structure):
    _fields_ = (
        [("nthread", ctypes.c_int32)]
        + [(name, ctypes.c_int) for name in ("ftype", "output_type", "embedding_type")]
        + [(name, ctypes.c_bool) for name in ("requantize", "output", "only_copy", "pure", "keep_split", "dry_run")]
        + [("imatrix", ctypes.POINTER(Importance))]
        + [(name, ctypes.c_void_p) for name in ("kv", "tensors", "prune")]
        + [("buffer", ctypes.c_size_t)]
    )


def parts_of(experts, shared_expert):
    return PARTS if experts == 0 else EXPERT_PARTS + (SHARED_PARTS if shared_expert else [])


def names_of(layers, tied, parts):
    names = ["token_embd.weight"] + ([] if tied else ["output.weight"])
    return names + [f"blk.{layer}.{part}.weight" for layer in range(layers) for part in parts]


def write(path, architecture, layers, heads, shared, down, columns, tied, experts=0, shared_expert=False):
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_block_count(layers)
    writer.add_context_length(64)
    writer.add_embedding_length(columns)
    writer.add_feed_forward_length(down)
    writer.add_head_count(heads)
    writer.add_head_count_kv(shared)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(ROWS)
    if experts:
        writer.add_expert_count(experts)
        writer.add_expert_used_count(2)
    generator = np.random.default_rng(0)
    for name in names_of(layers, tied, parts_of(experts, shared_expert)):
        width = down if "ffn_down" in name else columns
        sizes = (experts, ROWS) if "_exps" in name else (1,) if "inp_shexp" in name else (ROWS,)
        writer.add_tensor(name, generator.standard_normal((*sizes, width), dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def main():
    libraries, fixture, *kind = sys.argv[1:]
    for name in ("libggml-base", "libggml-cpu-x64", "libggml.", "libllama."):
        for path in sorted(glob.glob(os.path.join(libraries, name + "*"))):
            library = ctypes.CDLL(path, mode=ctypes.RTLD_GLOBAL)
    library.llama_model_quantize_default_params.restype = Parameters
    library.llama_model_quantize.restype = ctypes.c_uint32
    log = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)(lambda *_: None)
    library.llama_log_set(log, None)
    cases = []
    with tempfile.TemporaryDirectory() as directory:
        source, target = (os.path.join(directory, name).encode() for name in ("a.gguf", "b.gguf"))
        for model in EXPERT_MODELS if kind else MODELS:
            architecture, layers, heads, shared, down, columns, tied, *rest = model
            experts, shared_expert = rest or (0, False)
            write(source.decode(), *model)
            names = names_of(layers, tied, parts_of(experts, shared_expert))
            ones = (ctypes.c_float * 8192)(*([1.0] * 8192))
            widths = {n: (down if "ffn_down" in n else columns) * (experts if "_exps" in n else 1) for n in names}
            entries = [Importance(n.encode(), ones, widths[n]) for n in names]
            importance = (Importance * (len(entries) + 1))(*entries, Importance(None, None, 0))
            for mix, file_type in FILE_TYPES.items():
                if mix == "mxfp4_moe" and not kind:
                    continue
                for calibrated in (False, True):
                    if mix in NEED_IMPORTANCE and not calibrated:
                        continue
                    parameters = library.llama_model_quantize_default_params()
                    parameters.ftype = file_type
                    parameters.nthread = 1
                    parameters.imatrix = importance if calibrated else None
                    if library.llama_model_quantize(source, target, ctypes.byref(parameters)) != 0:
                        raise RuntimeError(f"{model} {mix} {calibrated}")
                    reader = gguf.GGUFReader(target.decode())
                    assert reader.fields["general.file_type"].contents() == file_type
                    types = {tensor.name: tensor.tensor_type.name for tensor in reader.tensors}
                    used = sorted(set(types.values()))
                    cases.append(
                        {
                            "architecture": architecture, "layers": layers, "heads": heads, "keyValueHeads": shared,
                            "columns": columns, "downColumns": down, "tiedHead": tied, "mix": mix, "calibrated": calibrated,
                            **({"experts": experts, "sharedExpert": shared_expert} if kind else {}),
                            "used": used, "types": "".join(chr(ord("a") + used.index(types[name])) for name in names),
                        }  # fmt: skip
                    )
    with open(fixture, "w") as file:
        parts = {"parts": EXPERT_PARTS, "sharedParts": SHARED_PARTS} if kind else {"parts": PARTS}
        json.dump({**parts, "cases": cases}, file, indent=0)
        file.write("\n")


main()
