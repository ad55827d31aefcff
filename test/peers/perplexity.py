"""Perplexity of a checkpoint with its owner's reader, in the windows that Quantloom uses.

usage: perplexity.py DIRECTORY TEXT CONTEXT MAX_TOKENS [transformers|gptqmodel [DENSE]]   (needs: torch, transformers, gptqmodel, optimum)

TEXT is a text file, or a JSON file with a list of token ids. DENSE: the dequantized model is saved there, in float32. Windows of CONTEXT tokens, not overlapping; the first token of a window is not scored; no token is added. Prints one JSON object.
"""
import json
import logging
import os
import sys
import warnings

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("GOMP_SPINCOUNT", "0")
os.environ.setdefault("GPTQMODEL_CPU_WORKERS", "2")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ["CUDA_VISIBLE_DEVICES"] = ""
warnings.filterwarnings("ignore")

# A file beside this one has the name of a package.
sys.path = [path for path in sys.path if os.path.abspath(path or ".") != os.path.dirname(os.path.abspath(__file__))]
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

directory, text, context, limit = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
reader = sys.argv[5] if len(sys.argv) > 5 else "transformers"
torch.set_num_threads(int(os.environ.get("THREADS", "2")))

tokenizer = AutoTokenizer.from_pretrained(directory)
content = open(text, encoding="utf-8").read()
ids = json.loads(content) if text.endswith(".json") else tokenizer(content, add_special_tokens=False).input_ids
windows = torch.tensor(ids[:limit][: len(ids[:limit]) // context * context]).view(-1, context)
config = json.load(open(os.path.join(directory, "config.json"))).get("quantization_config")
if reader == "gptqmodel":
    from gptqmodel import BACKEND, GPTQModel
    backend = BACKEND.AWQ_TORCH if config["quant_method"] == "awq" else BACKEND("gptq_torch")
    model = GPTQModel.load(directory, device="cpu", backend=backend, dtype=torch.float16).model
else:
    extra = {"gguf_file": "model.gguf"} if os.path.exists(os.path.join(directory, "model.gguf")) else {}
    if config and config["quant_method"] == "compressed-tensors":
        from transformers import CompressedTensorsConfig
        extra["quantization_config"] = CompressedTensorsConfig(run_compressed=False)
    elif config and config["quant_method"] == "gptq":
        from transformers import GPTQConfig
        extra["quantization_config"] = GPTQConfig(bits=config["bits"], backend="gptq_torch")
    model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float16 if config else torch.float32, device_map="cpu", **extra)

# The weights as the owner's code dequantizes them, multiplied in float32: its CPU kernels multiply in half precision only.
for name, module in list(model.named_modules()):
    if not hasattr(module, "dequantize_weight"):
        continue
    weight = module.dequantize_weight().float().T  # it gives [in, out]
    linear = torch.nn.Linear(module.in_features, module.out_features, bias=module.bias is not None)
    linear.weight.data = weight.contiguous()
    if module.bias is not None:
        linear.bias.data = module.bias.float()
    model.set_submodule(name, linear)
packed = config is not None and config["quant_method"] in ("awq", "bitsandbytes")
if not packed:  # what these two have packed stays so, and is multiplied in float16
    model.is_quantized = False  # no longer; float() refuses otherwise
    model = model.float()
model.eval()
if len(sys.argv) > 6:
    model.config.__dict__.pop("quantization_config", None)
    model.hf_quantizer = None
    model.save_pretrained(sys.argv[6])
    tokenizer.save_pretrained(sys.argv[6])

total, count = 0.0, 0
with torch.inference_mode():
    for batch in windows.split(4):
        logits = model(input_ids=batch).logits.float()
        loss = torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), batch[:, 1:].flatten(), reduction="sum")
        total += loss.item()
        count += batch[:, 1:].numel()
print(json.dumps({"perplexity": float(torch.tensor(total / count, dtype=torch.float64).exp()), "tokens": count}))
