#!/usr/bin/env python3
"""Writes the golden values of engine/graphs and engine/evaluation: random tiny Llamas run by transformers in float32.

usage: tiny-llamas.py [OUT_DIR]      (default: engine/graphs/fixtures; needs torch, transformers 5, safetensors)

Per model a directory with config.json, model.safetensors and golden.safetensors:
  tokens [2, 24] int32, logits [2, 24, vocabulary]; gram.<stage> [K, K]: XᵀX (in float64, stored as float32) of what reaches the
  linears after each stage of layer 1, and of lm_head; prompt [8], generated [12]: greedy continuation;
  inverse_frequencies [head_dim / 2] of the rotary embedding;
  long_tokens [1, 600], long_positions, long_logits: logits at some positions of a sequence longer than an attention block.
"""
import json, pathlib, sys

import torch
from safetensors.torch import save_file
from transformers import LlamaConfig, LlamaForCausalLM

SHARED = dict(hidden_size=32, intermediate_size=80, num_hidden_layers=2, num_attention_heads=4, vocab_size=96,
              max_position_embeddings=1024, rms_norm_eps=1e-5, bos_token_id=None, eos_token_id=None, pad_token_id=None)
MODELS = {
    "plain": dict(num_key_value_heads=4, tie_word_embeddings=False),
    "grouped": dict(num_key_value_heads=2, tie_word_embeddings=True, head_dim=16, attention_bias=True, mlp_bias=True,
                    rope_parameters=dict(rope_type="llama3", rope_theta=500.0, factor=4.0, low_freq_factor=1.0,
                                         high_freq_factor=4.0, original_max_position_embeddings=32)),
}
CAPTURES = {"attention-input": "self_attn.q_proj", "attention": "self_attn.o_proj", "mlp-input": "mlp.gate_proj", "mlp": "mlp.down_proj"}
LAYER = 1


def randomized(config):
    """Weights large enough that attention is peaked and every bias matters."""
    torch.manual_seed(7)
    model = LlamaForCausalLM(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("norm.weight"):
                parameter.copy_(1 + 0.2 * torch.randn_like(parameter))
            elif name.endswith("bias"):
                parameter.copy_(0.3 * torch.randn_like(parameter))
            else:
                parameter.copy_(torch.randn_like(parameter) * (1.5 / parameter.shape[-1] ** 0.5))
    return model


def golden(model, vocabulary):
    grams, handles = {}, []
    def watch(name, module):
        def hook(_, inputs):
            x = inputs[0].reshape(-1, inputs[0].shape[-1]).double()
            grams[f"gram.{name}"] = (x.T @ x).float()
        handles.append(module.register_forward_pre_hook(hook))
    for stage, path in CAPTURES.items():
        watch(stage, model.model.layers[LAYER].get_submodule(path))
    watch("head-input", model.lm_head)
    generator = torch.Generator().manual_seed(11)
    tokens = torch.randint(0, vocabulary, (2, 24), generator=generator)
    logits = model(tokens, use_cache=False).logits
    for handle in handles:
        handle.remove()
    prompt = tokens[0, :8]
    generated = model.generate(prompt[None], max_new_tokens=12, do_sample=False)[0, 8:]
    long_tokens = torch.randint(0, vocabulary, (1, 600), generator=generator)
    positions = torch.tensor([0, 255, 256, 300, 511, 512, 599])
    long_logits = model(long_tokens, use_cache=False).logits[0, positions]
    integers = dict(tokens=tokens, prompt=prompt, generated=generated, long_tokens=long_tokens, long_positions=positions)
    frequencies = model.model.rotary_emb.inv_freq
    return {**grams, "logits": logits, "long_logits": long_logits, "inverse_frequencies": frequencies, **{name: value.int() for name, value in integers.items()}}


def main(out):
    for name, overrides in MODELS.items():
        config = LlamaConfig(**{**SHARED, **overrides})
        directory = out / name
        directory.mkdir(parents=True, exist_ok=True)
        model = randomized(config)
        with torch.no_grad():
            values = golden(model, config.vocab_size)
        weights = {key: value for key, value in model.state_dict().items()
                   if not (config.tie_word_embeddings and key == "lm_head.weight")}
        save_file({key: value.contiguous() for key, value in weights.items()}, directory / "model.safetensors")
        save_file({key: value.contiguous() for key, value in values.items()}, directory / "golden.safetensors")
        saved = {"architectures": ["LlamaForCausalLM"], **config.to_diff_dict(), "model_type": "llama"}
        (directory / "config.json").write_text(json.dumps({**saved, **{k: getattr(config, k) for k in SHARED}}, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else "engine/graphs/fixtures"))
