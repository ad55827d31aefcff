"""Weights and logits of an AWQ checkpoint as GPTQModel and transformers have them.

usage: awq.py DIRECTORY DENSE IDS   (needs: torch, transformers, gptqmodel, accelerate)

The first run on a machine compiles a kernel of GPTQModel, for minutes.

DENSE: a directory with the same model, dequantized by Quantloom. IDS: token ids, separated by commas. Prints one JSON object: `weights`,
by module the SHA-256 of the weight that GPTQModel's dequantize_gemm gives in float32; by reader the `difference` of the logits from those of
DENSE, the largest, and their `spread`. Linears compute in float16, so the logits are no more than close.
"""
import glob
import hashlib
import json
import os
import sys
import warnings

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("GOMP_SPINCOUNT", "0")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("GPTQMODEL_CPU_WORKERS", "2")
os.environ["CUDA_VISIBLE_DEVICES"] = ""
warnings.filterwarnings("ignore")

import torch
from gptqmodel import BACKEND, GPTQModel
from gptqmodel.quantization.awq.utils.packing_utils import dequantize_gemm
from safetensors import safe_open
from transformers import AutoConfig, AutoModelForCausalLM

directory, dense, ids = sys.argv[1], sys.argv[2], [int(word) for word in sys.argv[3].split(",")]
torch.set_num_threads(int(os.environ.get("THREADS", "2")))


def logits_of(model):
    with torch.inference_mode():
        return model.eval()(input_ids=torch.tensor([ids])).logits.float()


tensors = {}
for path in glob.glob(os.path.join(directory, "*.safetensors")):
    with safe_open(path, "pt") as file:
        tensors.update({name: file.get_tensor(name) for name in file.keys()})
weights = {}
for name in sorted(tensors):
    if not name.endswith(".qweight"):
        continue
    module = name[: -len(".qweight")]
    scales = tensors[f"{module}.scales"].float()
    size = tensors[name].shape[0] // scales.shape[0]
    weight = dequantize_gemm(tensors[name], tensors[f"{module}.qzeros"], scales, 4, size).t().float().contiguous()
    weights[module] = hashlib.sha256(weight.numpy().tobytes()).hexdigest()

# Otherwise the CPU decides, and some of the kernels compute in bfloat16 or take no groups of whole rows.
config = AutoConfig.from_pretrained(directory)
config.quantization_config["backend"] = "torch_awq"
expected = logits_of(AutoModelForCausalLM.from_pretrained(dense, dtype=torch.float32))
found = {
    "transformers": logits_of(
        AutoModelForCausalLM.from_pretrained(directory, config=config, dtype=torch.float16, device_map="cpu")
    ),
    "gptqmodel": logits_of(GPTQModel.load(directory, backend=BACKEND.AWQ_TORCH, device="cpu", dtype=torch.float16).model),
}
print(json.dumps({
    "weights": weights,
    "difference": {reader: (logits - expected).abs().max().item() for reader, logits in found.items()},
    "spread": expected.std().item(),
}))
