"""Weights of a compressed-tensors checkpoint, and its perplexity with inputs quantized, as transformers and compressed-tensors have them.

usage: rounded-inputs.py DIRECTORY DENSE TOKENS CONTEXT   (needs: torch, transformers, compressed-tensors)

DENSE: a directory with the same model, dequantized by Quantloom. TOKENS: a JSON file with a list of token ids. Prints one JSON object: `weights`, by module the SHA-256 of the weight that decompression gives in
float32; `rounded`, whether they are bfloat16, and what follows is of those of DENSE then; `perplexity` in windows of CONTEXT tokens, the first of which is not scored, and
`perplexityOfWeights` with inputs as they are.
"""
import hashlib
import json
import os
import sys
import warnings

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("GOMP_SPINCOUNT", "0")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ["CUDA_VISIBLE_DEVICES"] = ""
warnings.filterwarnings("ignore")

import torch
from transformers import AutoModelForCausalLM, CompressedTensorsConfig

directory, dense, tokens, context = sys.argv[1], sys.argv[2], json.load(open(sys.argv[3])), int(sys.argv[4])
torch.set_num_threads(int(os.environ.get("THREADS", "2")))
windows = torch.tensor(tokens[: len(tokens) // context * context]).view(-1, context)


def perplexity_of(model):
    with torch.inference_mode():
        logits = model.eval()(input_ids=windows).logits.double()
    loss = torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), windows[:, 1:].flatten())
    return loss.exp().item()


plain = CompressedTensorsConfig(dequantize=True)
model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32, quantization_config=plain)
fours = any(parameter.dtype == torch.bfloat16 for parameter in model.parameters())
model = torch.nn.Module.float(model)  # floats of 4 bits are decompressed in bfloat16, whatever the model's dtype
linears = {name: module for name, module in model.named_modules() if hasattr(module, "quantization_scheme")}
weights = {
    name: hashlib.sha256(module.weight.detach().contiguous().numpy().tobytes()).hexdigest() for name, module in linears.items()
}
if fours:
    exact = AutoModelForCausalLM.from_pretrained(dense, dtype=torch.float32)
    for name, module in linears.items():
        module.weight.data = exact.get_submodule(name).weight.data
rounded = perplexity_of(model)
for module in linears.values():
    module.quantization_enabled = False
print(json.dumps({"weights": weights, "rounded": fours, "perplexity": rounded, "perplexityOfWeights": perplexity_of(model)}))
