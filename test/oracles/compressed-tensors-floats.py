"""Fixtures for weights and inputs that compressed-tensors rounds to int8 and to small floats.

usage: compressed-tensors-floats.py OUT_DIRECTORY

Writes, per case, one safetensors file: `source` [N, K] in float32, the tensors of a linear as the package compresses it, with scales rounded to
what Quantloom's files hold, and `dense`, what its decompression gives: in float32, in bfloat16 of floats of 4 bits. And inputs.safetensors: `x` [tokens, K], and what is
left of it when a module quantizes its input. And schemes.json: configs of the schemes that it knows by name. Needs compressed-tensors 0.19, torch, safetensors.
"""

import json
import os
import sys

import torch
from compressed_tensors.compressors.base import BaseCompressor
from compressed_tensors.compressors.format import infer_module_format
from compressed_tensors.quantization import QuantizationArgs, QuantizationConfig, QuantizationScheme, QuantizationStrategy, preset_name_to_scheme
from compressed_tensors.quantization.lifecycle.forward import fake_quantize
from compressed_tensors.quantization.utils import calculate_qparams, compute_dynamic_scales_and_zp, generate_gparam
from safetensors.torch import save_file

torch.set_num_threads(1)
FP8 = {"num_bits": 8, "type": "float", "symmetric": True}
INT8 = {"num_bits": 8, "type": "int", "symmetric": True}
FP4 = {"num_bits": 4, "type": "float", "symmetric": True}
MXFP4 = {**FP4, "strategy": "group", "group_size": 32, "scale_dtype": torch.uint8}
NVFP4 = {**FP4, "strategy": "tensor_group", "group_size": 16, "scale_dtype": torch.float8_e4m3fn}
#        name               format             N    K    floatType     arguments
CASES = [
    ("fp8",                 "float-quantized", 40,  96,  "fp8",        {**FP8, "strategy": "channel"}),
    ("fp8-tensor",          "float-quantized", 33,  64,  "fp8-tensor", {**FP8, "strategy": "tensor"}),
    ("fp8-block",           "float-quantized", 129, 136, "fp8-block",  {**FP8, "strategy": "block", "block_structure": [128, 128]}),
    ("mxfp4",               "mxfp4-pack-quantized", 40, 96, "mxfp4",   MXFP4),
    ("nvfp4",               "nvfp4-pack-quantized", 40, 96, "nvfp4",   NVFP4),
    ("int8",                "int-quantized",   33,  64,  "",           {**INT8, "strategy": "channel"}),
    ("int8-asymmetric",     "int-quantized",   33,  64,  "",           {**INT8, "strategy": "channel", "symmetric": False}),
]
# Drawn after the inputs, which came first.
CASES_OF_TENSORS = [
    ("int8-tensor",            "int-quantized", 33, 64, "", {**INT8, "strategy": "tensor"}),
    ("int8-tensor-asymmetric", "int-quantized", 33, 64, "", {**INT8, "strategy": "tensor", "symmetric": False}),
]


def groups(weight, args):
    """The weights of each scale, along the last axis, in the shape of the scales before it."""
    rows, columns = weight.shape
    if args.strategy == "tensor":
        return weight.reshape(1, -1)
    if args.strategy == "block":
        padded = torch.nn.functional.pad(weight, (0, -columns % 128, 0, -rows % 128))
        return padded.reshape(-(-rows // 128), 128, -(-columns // 128), 128).transpose(1, 2).flatten(2)
    return weight.unflatten(1, (-1, args.group_size or columns))


def case(fmt, rows, columns, arguments, generator):
    weight = torch.randn((rows, columns), generator=generator) * torch.rand((rows, 1), generator=generator) / 8
    weight[3] = 0
    args = QuantizationArgs(**arguments)
    if args.num_bits == 8:
        weight[5, 7] = -0.0
    each = groups(weight, args)
    global_scale = generate_gparam(weight.amin(), weight.amax()) if args.strategy == "tensor_group" else None
    scale, zero_point = calculate_qparams(each.amin(-1), each.amax(-1), args, global_scale=global_scale)
    if args.num_bits == 8:
        scale = scale.to(torch.bfloat16 if args.type == "float" else torch.float16)
        # Of rows without a weight: as Quantloom's integers have it.
        scale = scale.clamp(min=2**-23 if args.type == "float" else 168 / 2**24).float()
    scheme = QuantizationScheme(targets=["Linear"], weights=args, input_activations=None)
    compressor = BaseCompressor.get_value_from_registry(fmt)
    state = {"weight": weight, "weight_scale": scale, "weight_zero_point": zero_point}
    if global_scale is not None:
        state["weight_global_scale"] = global_scale
    stored = compressor.compress(state, scheme)
    dense = compressor.decompress(stored, scheme)["weight"]
    assert dense.dtype == (torch.float32 if args.num_bits == 8 else torch.bfloat16)
    if args.num_bits == 8:
        stored["weight_scale"] = stored["weight_scale"].to(torch.bfloat16 if args.type == "float" else torch.float16)
    return {**stored, "source": weight, "dense": dense}


SCHEMES = ("W8A8", "W8A8-tensor", "FP8_DYNAMIC", "FP8_BLOCK", "MXFP4A16", "NVFP4A16", "FP8", "MXFP4", "NVFP4", "MXFP8")


def config_of(name):
    preset, _, strategy = name.partition("-")
    scheme = preset_name_to_scheme(preset, ["Linear"])
    if strategy:
        scheme.weights.strategy = QuantizationStrategy(strategy)
    scheme.format = infer_module_format(torch.nn.Linear, scheme)
    config = QuantizationConfig(
        config_groups={"group_0": scheme}, quantization_status="compressed", format=scheme.format, ignore=["lm_head"]
    )
    return json.loads(config.model_dump_json())


def inputs(generator):
    x = torch.randn((9, 256), generator=generator) * torch.rand((9, 1), generator=generator) * 4
    x[2] = 0
    x[4, 100] = 60
    arguments = {
        "int8": {**INT8, "strategy": "token", "dynamic": True},
        "fp8": {**FP8, "strategy": "token", "dynamic": True},
        "fp8-groups": {**FP8, "strategy": "group", "group_size": 128, "dynamic": True},
    }
    rounded = {}
    for name, fields in arguments.items():
        args = QuantizationArgs(**fields)
        value = x.unsqueeze(0)
        scale, zero_point = compute_dynamic_scales_and_zp(value=value, args=args, module=None)
        rounded[name] = fake_quantize(value, scale, zero_point, args)[0]
    # One scale for all tokens, which some of them exceed.
    args = QuantizationArgs(**FP8, strategy="tensor")
    scale, zero_point = calculate_qparams(-torch.tensor(9.0), torch.tensor(9.0), args)
    scale = scale.to(torch.bfloat16).float()
    rounded["fp8-static"] = fake_quantize(x, scale, zero_point, args)
    # Eighths lie on the borders between floats of 4 bits.
    eighths = (torch.randn((6, 256), generator=generator) * 12).round() / 8
    eighths[1, :16] = 0
    eighths[2, :32] *= 2.0**-100
    x4 = torch.cat([x, eighths, eighths * 1.75 / 6])
    global_scale = generate_gparam(-torch.tensor(9.0), torch.tensor(9.0))
    for name, fields in {"mxfp4": MXFP4, "nvfp4": NVFP4}.items():
        args = QuantizationArgs(**fields, dynamic=True if name == "mxfp4" else "local")
        given = global_scale if name == "nvfp4" else None
        scales, zero_point = compute_dynamic_scales_and_zp(value=x4, args=args, module=None, global_scale=given)
        rounded[name] = fake_quantize(x4, scales, zero_point, args, global_scale=given)
    return {"x": x, "x4": x4, **rounded, "fp8-static-scale": scale, "nvfp4-scale": global_scale}


if __name__ == "__main__":
    out = sys.argv[1]
    os.makedirs(out, exist_ok=True)
    generator = torch.Generator().manual_seed(33)

    def write(cases):
        for name, fmt, rows, columns, float_type, arguments in cases:
            tensors = case(fmt, rows, columns, arguments, generator)
            symmetric = json.dumps(arguments["symmetric"])
            metadata = {"format": fmt, "floatType": float_type, "symmetric": symmetric, "strategy": arguments["strategy"]}
            save_file({key: value.contiguous() for key, value in tensors.items()}, os.path.join(out, f"{name}.safetensors"), metadata)

    write(CASES)
    save_file({key: value.contiguous() for key, value in inputs(generator).items()}, os.path.join(out, "inputs.safetensors"))
    write(CASES_OF_TENSORS)
    with open(os.path.join(out, "schemes.json"), "w") as file:
        json.dump({name: config_of(name) for name in SCHEMES}, file, indent=1)
        file.write("\n")
