"""llama.cpp's quantize, through libllama's C interface.

usage: python llama-quantize.py LIBRARIES SOURCE.gguf TARGET.gguf FILE_TYPE

LIBRARIES: the directory with libllama.so and its kin. FILE_TYPE: a number of `llama_ftype`. The layout of the parameters is that of llama.h in the
release that node-llama-cpp 3.22.1 comes with.
"""

import ctypes
import glob
import os
import sys


class Parameters(ctypes.Structure):
    _fields_ = (
        [("nthread", ctypes.c_int32)]
        + [(name, ctypes.c_int) for name in ("ftype", "output_type", "embedding_type")]
        + [(name, ctypes.c_bool) for name in ("requantize", "output", "only_copy", "pure", "keep_split", "dry_run")]
        + [(name, ctypes.c_void_p) for name in ("imatrix", "kv", "tensors", "prune")]
        + [("buffer", ctypes.c_size_t)]
    )


libraries, source, target, file_type = sys.argv[1:]
for name in ("libggml-base", "libggml-cpu-x64", "libggml.", "libllama."):
    for path in sorted(glob.glob(os.path.join(libraries, name + "*"))):
        library = ctypes.CDLL(path, mode=ctypes.RTLD_GLOBAL)
library.llama_model_quantize_default_params.restype = Parameters
library.llama_model_quantize.restype = ctypes.c_uint32
log = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)(lambda *_: None)
library.llama_log_set(log, None)
parameters = library.llama_model_quantize_default_params()
parameters.ftype = int(file_type)
parameters.nthread = 1
if library.llama_model_quantize(source.encode(), target.encode(), ctypes.byref(parameters)) != 0:
    raise RuntimeError(f"{source} could not be quantized")
