"""Fixtures for engine/checkpoints/compressed-tensors, written by the compressed-tensors package.

usage: compressed-tensors-packing.py OUT_DIRECTORY

Writes, per case, one safetensors file: the tensors of a linear as PackedQuantizationCompressor compresses it, what it was compressed from
(`codes` and `zeros`, unsigned; `zeros` [N, G]) and `dense` [N, K], which the compressor's own decompression gives with its scales in
float32. The case with a g_idx, which the package dropped in 0.19, is packed by it and dequantized here. And configs.json: quantization
configs of the package with what it says of the modules of a model. Needs compressed-tensors 0.19, torch, safetensors.
"""

import json
import os
import sys

import torch
from compressed_tensors.compressors.pack_quantized.base import PackedQuantizationCompressor
from compressed_tensors.compressors.pack_quantized.helpers import pack_to_int32
from compressed_tensors.quantization import QuantizationArgs, QuantizationConfig, QuantizationScheme, apply_quantization_config
from safetensors.torch import save_file

torch.set_num_threads(1)
#        name                  bits  N   K   group sym    scales          g_idx
CASES = [
    ("2-asymmetric",             2,  32, 64,  32,  False, torch.float16,  False),
    ("3-symmetric",              3,  32, 96,  32,  True,  torch.float16,  False),
    ("3-asymmetric-40-rows",     3,  40, 64,  16,  False, torch.float16,  False),
    ("4-symmetric",              4,  32, 64,  32,  True,  torch.float16,  False),
    ("4-asymmetric-bfloat16",    4,  32, 64,  32,  False, torch.bfloat16, False),
    ("4-channel",                4,  32, 96,  -1,  True,  torch.float16,  False),
    ("4-act-order",              4,  32, 64,  32,  True,  torch.float16,  True),
    ("5-asymmetric-channel",     5,  40, 64,  -1,  False, torch.float16,  False),
    ("6-symmetric-float32",      6,  32, 64,  64,  True,  torch.float32,  False),
    ("7-asymmetric",             7,  32, 64,  32,  False, torch.float16,  False),
    ("8-symmetric",              8,  32, 64,  32,  True,  torch.float16,  False),
    ("8-asymmetric",             8,  33, 64,  64,  False, torch.float16,  False),
]


def case(bits, N, K, group, symmetric, dtype, act_order, generator):
    G = 1 if group == -1 else K // group
    middle = 1 << (bits - 1)
    codes = torch.randint(0, 2 * middle, (N, K), generator=generator)
    zeros = torch.full((N, G), middle) if symmetric else torch.randint(0, 2 * middle, (N, G), generator=generator)
    scale = (torch.rand((N, G), generator=generator) / 64 + 1 / 1024).to(dtype)
    g_idx = torch.arange(K) * G // K
    if act_order:
        g_idx = g_idx[torch.randperm(K, generator=generator)]
    dense = (codes - zeros[:, g_idx]).float() * scale[:, g_idx].float()
    weights = QuantizationArgs(
        num_bits=bits, symmetric=symmetric, strategy="channel" if group == -1 else "group", group_size=None if group == -1 else group
    )
    scheme = QuantizationScheme(targets=["Linear"], weights=weights)
    if act_order:
        stored = {
            "weight_packed": pack_to_int32((codes - middle).to(torch.int8), bits),
            "weight_scale": scale,
            "weight_shape": torch.tensor([N, K]),
            "weight_g_idx": g_idx.to(torch.int32),
        }
    else:
        zero_point = (zeros - middle).to(torch.int8)
        state = {"weight": dense, "weight_scale": scale, "weight_zero_point": zero_point}
        stored = PackedQuantizationCompressor.compress(state, scheme)
        own = PackedQuantizationCompressor.decompress({**stored, "weight_scale": scale.float()}, scheme)["weight"]
        assert own.dtype == torch.float32 and torch.equal(own, dense)
        dense = own
    tensors = {**stored, "codes": codes.to(torch.uint8), "zeros": zeros.to(torch.uint8), "dense": dense}
    metadata = {"bits": str(bits), "group_size": str(group), "symmetric": json.dumps(symmetric)}
    return {name: tensor.contiguous() for name, tensor in tensors.items()}, metadata


class Layer(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.q_proj, self.k_proj, self.down_proj = (torch.nn.Linear(64, 64) for _ in range(3))


class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = torch.nn.ModuleList([Layer() for _ in range(12)])
        self.lm_head = torch.nn.Linear(64, 64)


def weights(**fields):
    return {"weights": {"num_bits": 4, "symmetric": True, "strategy": "group", "group_size": 32, **fields}}


CONFIGS = {
    "W4A16 but the head": {
        "config_groups": {"group_0": {"targets": ["Linear"], **weights(actorder="static")}},
        "ignore": ["lm_head"],
    },
    "names before expressions before the class": {
        "config_groups": {
            "group_0": {"targets": ["Linear"], **weights()},
            "group_1": {"targets": ["re:.*down_proj"], **weights(num_bits=8, strategy="channel", group_size=None)},
            "group_2": {"targets": ["layers.3.down_proj"], **weights(num_bits=8, group_size=64, symmetric=False)},
        },
        "ignore": ["lm_head", "re:layers\\.1\\.", "layers.2.q_proj"],
    },
    "only some, by expressions from the start of the name": {
        "config_groups": {
            "a": {"targets": ["re:layers.[0-5].*proj", "re:q_proj"], **weights(num_bits=4, group_size=64)},
            "b": {"targets": ["re:layers\\.1\\d\\.k_proj$", "lm_head"], **weights(num_bits=8)},
        },
        "ignore": [],
    },
}


def described(fields):
    config = QuantizationConfig(quantization_status="compressed", format="pack-quantized", **fields)
    model = Model()
    apply_quantization_config(model, config)
    modules = {}
    for name, module in model.named_modules():
        if not isinstance(module, torch.nn.Linear):
            continue
        args = module.quantization_scheme.weights if hasattr(module, "quantization_scheme") else None
        modules[name] = args and {
            "bits": args.num_bits,
            "groupSize": -1 if args.strategy == "channel" else args.group_size,
            "symmetric": args.symmetric,
        }
    return {"config": json.loads(config.model_dump_json()), "modules": modules}


if __name__ == "__main__":
    out = sys.argv[1]
    os.makedirs(out, exist_ok=True)
    generator = torch.Generator().manual_seed(20)
    for name, *fields in CASES:
        tensors, metadata = case(*fields, generator)
        save_file(tensors, os.path.join(out, f"{name}.safetensors"), metadata)
    with open(os.path.join(out, "configs.json"), "w") as file:
        json.dump({name: described(fields) for name, fields in CONFIGS.items()}, file, indent=1)
        file.write("\n")
