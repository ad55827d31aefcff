#!/usr/bin/env python3
"""Writes the golden values of engine/checkpoints/onnx: random tiny Llamas in 16 bit, run by transformers in float32.

usage: onnx-llamas.py [OUT_DIR]      (default: engine/checkpoints/onnx/fixtures; needs torch, transformers 5, safetensors)

Per model a directory with config.json, model.safetensors and golden.safetensors:
  tokens [2, 24] int32, logits [2, 24, vocabulary]; prompt [8], generated [12]: greedy continuation;
  long_tokens [1, 200], long_logits [1, 200, vocabulary].
"""
import json, pathlib, sys

import torch
from safetensors.torch import save_file
from transformers import LlamaConfig, LlamaForCausalLM

SHARED = dict(hidden_size=32, intermediate_size=80, num_hidden_layers=2, num_attention_heads=4, head_dim=16, vocab_size=96,
              max_position_embeddings=256, rms_norm_eps=1e-5, bos_token_id=None, eos_token_id=None, pad_token_id=None)
MODELS = {
    "untied-bfloat16": (torch.bfloat16, dict(num_key_value_heads=4, tie_word_embeddings=False)),
    "tied-float16": (torch.float16, dict(
        num_key_value_heads=2, tie_word_embeddings=True, attention_bias=True, mlp_bias=True,
        rope_parameters=dict(rope_type="llama3", rope_theta=500.0, factor=4.0, low_freq_factor=1.0,
                             high_freq_factor=4.0, original_max_position_embeddings=32))),
}


def randomized(config, dtype):
    """Weights that the file's type holds, large enough that attention is peaked and every bias matters."""
    torch.manual_seed(7)
    model = LlamaForCausalLM(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("norm.weight"):
                values = 1 + 0.2 * torch.randn_like(parameter)
            elif name.endswith("bias"):
                values = 0.3 * torch.randn_like(parameter)
            else:
                values = torch.randn_like(parameter) * (1.5 / parameter.shape[-1] ** 0.5)
            parameter.copy_(values.to(dtype))
    return model


def golden(model, vocabulary):
    generator = torch.Generator().manual_seed(11)
    tokens = torch.randint(0, vocabulary, (2, 24), generator=generator)
    prompt = tokens[0, :8]
    long_tokens = torch.randint(0, vocabulary, (1, 200), generator=generator)
    generated = model.generate(prompt[None], max_new_tokens=12, do_sample=False)[0, 8:]
    integers = dict(tokens=tokens, prompt=prompt, generated=generated, long_tokens=long_tokens)
    floats = dict(logits=model(tokens, use_cache=False).logits, long_logits=model(long_tokens, use_cache=False).logits)
    return {**floats, **{name: value.int() for name, value in integers.items()}}


def main(out):
    for name, (dtype, overrides) in MODELS.items():
        config = LlamaConfig(**{**SHARED, **overrides})
        directory = out / name
        directory.mkdir(parents=True, exist_ok=True)
        model = randomized(config, dtype)
        with torch.no_grad():
            values = golden(model, config.vocab_size)
        weights = {key: value.to(dtype) for key, value in model.state_dict().items()
                   if not (config.tie_word_embeddings and key == "lm_head.weight")}
        save_file({key: value.contiguous() for key, value in weights.items()}, directory / "model.safetensors")
        save_file({key: value.contiguous() for key, value in values.items()}, directory / "golden.safetensors")
        saved = {"architectures": ["LlamaForCausalLM"], **config.to_diff_dict(), "model_type": "llama"}
        (directory / "config.json").write_text(json.dumps({**saved, **{k: getattr(config, k) for k in SHARED}}, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else "engine/checkpoints/onnx/fixtures"))
