#!/usr/bin/env python3
"""Writes the golden values of engine/graphs and engine/evaluation: random tiny models run by transformers in float32.

usage: tiny-models.py [OUT_DIR [NAME ...]]      (default: engine/graphs/fixtures, all; needs torch, transformers 5, safetensors, tokenizers)

Per model a directory with config.json, model.safetensors and golden.safetensors:
  tokens [2, 24] int32, logits [2, 24, vocabulary]; gram.<stage> [K, K]: XᵀX (in float64, stored as float32) of what reaches the
  linears after each stage of layer 1, and of lm_head; of a layer with experts gram.experts-input and gram.experts, by expert (`.0`, `.shared`) over the
  tokens that are routed to it, and gram.experts.all.<expert> over all tokens; expert_tokens [experts]: how many that are; prompt [8], generated [12]: greedy continuation;
  inverse_frequencies [head_dim / 2] of the rotary embedding, where there is one;
  long_tokens [1, 600], long_positions, long_logits: logits at some positions of a sequence longer than an attention block, unless the model
  takes none that long.
Models with a vocabulary of 320 have a byte-level BPE tokenizer as their family has it, and text_tokens: TEXT through it.
"""
import json, pathlib, sys, tempfile

import torch
from safetensors.torch import load_file, save_file
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import (Gemma2Config, Gemma2ForCausalLM, Gemma3ForCausalLM, Gemma3TextConfig, GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM, MistralConfig, MistralForCausalLM,
                          MixtralConfig, MixtralForCausalLM, OPTConfig, OPTForCausalLM, Phi3Config, Phi3ForCausalLM, Qwen2Config, Qwen2ForCausalLM, Qwen2MoeConfig, Qwen2MoeForCausalLM, Qwen3Config,
                          Qwen3ForCausalLM, Qwen3MoeConfig, Qwen3MoeForCausalLM)

NO_SPECIAL = dict(bos_token_id=None, eos_token_id=None, pad_token_id=None)
LLAMA = dict(hidden_size=32, intermediate_size=80, num_hidden_layers=2, num_attention_heads=4, vocab_size=96,
             max_position_embeddings=1024, rms_norm_eps=1e-5, **NO_SPECIAL)
OTHERS = {**LLAMA, "intermediate_size": 64, "vocab_size": 320}
PHI3 = {**OTHERS, "hidden_size": 64}
GEMMA = {**OTHERS, "hidden_size": 32}
GPT2 = dict(n_embd=32, n_layer=2, n_head=4, vocab_size=320, layer_norm_epsilon=1e-5, **NO_SPECIAL)
OPT = dict(hidden_size=32, num_hidden_layers=2, num_attention_heads=4, vocab_size=320, **NO_SPECIAL)
LLAMA3 = dict(rope_type="llama3", rope_theta=500.0, factor=4.0, low_freq_factor=1.0, high_freq_factor=4.0,
              original_max_position_embeddings=32)
LLAMA_STAGES = {"attention-input": "self_attn.q_proj", "attention": "self_attn.o_proj", "mlp-input": "mlp.gate_proj", "mlp": "mlp.down_proj"}
GPT2_STAGES = {"attention-input": "attn.c_attn", "attention": "attn.c_proj", "mlp-input": "mlp.c_fc", "mlp": "mlp.c_proj"}
OPT_STAGES = {"attention-input": "self_attn.q_proj", "attention": "self_attn.out_proj", "mlp-input": "fc1", "mlp": "fc2"}
PHI3_STAGES = {**LLAMA_STAGES, "attention-input": "self_attn.qkv_proj", "mlp-input": "mlp.gate_up_proj"}
LAYER = 1
TEXT = "The quick brown fox can't count: 12345 tokens, naïve café…\n\n  def f(x):\n\treturn x  # 你好 🙂 END"

# Name: configuration class, model class, what all have, what this one has.
MODELS = {
    "plain": (LlamaConfig, LlamaForCausalLM, LLAMA, dict(num_key_value_heads=4, tie_word_embeddings=False)),
    "grouped": (LlamaConfig, LlamaForCausalLM, LLAMA,
                dict(num_key_value_heads=2, tie_word_embeddings=True, head_dim=16, attention_bias=True, mlp_bias=True, rope_parameters=LLAMA3)),
    "mistral-grouped": (MistralConfig, MistralForCausalLM, OTHERS,
                        dict(num_key_value_heads=2, tie_word_embeddings=False, head_dim=16, sliding_window=None,
                             rope_parameters=dict(rope_type="default", rope_theta=1e6))),
    "mistral-window": (MistralConfig, MistralForCausalLM, OTHERS,
                       dict(num_key_value_heads=4, tie_word_embeddings=True, sliding_window=24,
                            rope_parameters=dict(rope_type="default", rope_theta=500.0))),
    "qwen2-grouped": (Qwen2Config, Qwen2ForCausalLM, OTHERS,
                      dict(hidden_size=64, num_key_value_heads=2, tie_word_embeddings=True, use_sliding_window=False, sliding_window=4,
                           rope_parameters=dict(rope_type="default", rope_theta=1e6))),
    "qwen2-plain": (Qwen2Config, Qwen2ForCausalLM, OTHERS,
                    dict(num_key_value_heads=4, tie_word_embeddings=False, use_sliding_window=True, sliding_window=4,
                         max_window_layers=2, rope_parameters=LLAMA3)),
    "qwen3-grouped": (Qwen3Config, Qwen3ForCausalLM, OTHERS,
                      dict(num_key_value_heads=2, head_dim=16, tie_word_embeddings=True,
                           rope_parameters=dict(rope_type="default", rope_theta=1e6))),
    "qwen3-plain": (Qwen3Config, Qwen3ForCausalLM, OTHERS,
                    dict(num_key_value_heads=4, head_dim=8, tie_word_embeddings=False, attention_bias=True)),
    "phi3-grouped": (Phi3Config, Phi3ForCausalLM, PHI3,
                     dict(num_key_value_heads=2, tie_word_embeddings=False, original_max_position_embeddings=640,
                          rope_parameters=dict(rope_type="longrope", rope_theta=500.0, short_factor=[1 + 0.3 * i for i in range(8)],
                                               long_factor=[2.0] * 8))),
    "phi3-partial": (Phi3Config, Phi3ForCausalLM, PHI3,
                     dict(num_key_value_heads=4, tie_word_embeddings=True, sliding_window=20, partial_rotary_factor=0.75,
                          rope_parameters=dict(rope_type="default", rope_theta=500.0, partial_rotary_factor=0.75))),
    "gemma2-grouped": (Gemma2Config, Gemma2ForCausalLM, GEMMA,
                       dict(num_hidden_layers=3, num_key_value_heads=2, head_dim=16, sliding_window=16, query_pre_attn_scalar=24,
                            attn_logit_softcapping=5.0, final_logit_softcapping=3.0,
                            rope_parameters=dict(rope_type="default", rope_theta=500.0))),
    "gemma2-plain": (Gemma2Config, Gemma2ForCausalLM, GEMMA,
                     dict(num_key_value_heads=4, head_dim=8, sliding_window=200, tie_word_embeddings=False, attention_bias=True,
                          query_pre_attn_scalar=8, attn_logit_softcapping=None, final_logit_softcapping=None)),
    "gemma3-grouped": (Gemma3TextConfig, Gemma3ForCausalLM, GEMMA,
                       dict(num_hidden_layers=3, num_key_value_heads=2, head_dim=16, sliding_window=16, query_pre_attn_scalar=24,
                            layer_types=["sliding_attention", "full_attention", "sliding_attention"],
                            rope_parameters=dict(full_attention=dict(rope_type="linear", factor=8.0, rope_theta=1e6),
                                                 sliding_attention=dict(rope_type="default", rope_theta=500.0)))),
    "gemma3-plain": (Gemma3TextConfig, Gemma3ForCausalLM, GEMMA,
                     dict(num_key_value_heads=4, head_dim=8, sliding_window=100, tie_word_embeddings=False, query_pre_attn_scalar=8,
                          final_logit_softcapping=4.0, sliding_window_pattern=2)),
    "mixtral-grouped": (MixtralConfig, MixtralForCausalLM, OTHERS,
                        dict(num_key_value_heads=2, head_dim=16, tie_word_embeddings=False, num_local_experts=4, num_experts_per_tok=2)),
    "mixtral-window": (MixtralConfig, MixtralForCausalLM, OTHERS,
                       dict(num_key_value_heads=4, tie_word_embeddings=True, sliding_window=24, num_local_experts=3, num_experts_per_tok=1,
                            rope_parameters=dict(rope_type="default", rope_theta=500.0))),
    "qwen2moe-shared": (Qwen2MoeConfig, Qwen2MoeForCausalLM, OTHERS,
                        dict(hidden_size=64, num_key_value_heads=2, tie_word_embeddings=False, num_experts=6, num_experts_per_tok=3, moe_intermediate_size=32,
                             shared_expert_intermediate_size=96, norm_topk_prob=False)),
    "qwen2moe-dense": (Qwen2MoeConfig, Qwen2MoeForCausalLM, OTHERS,
                       dict(num_key_value_heads=4, tie_word_embeddings=True, num_hidden_layers=3, decoder_sparse_step=2, num_experts=4, num_experts_per_tok=2,
                            moe_intermediate_size=32, shared_expert_intermediate_size=32, norm_topk_prob=True, qkv_bias=False)),
    "qwen3moe-grouped": (Qwen3MoeConfig, Qwen3MoeForCausalLM, OTHERS,
                         dict(num_key_value_heads=2, head_dim=16, tie_word_embeddings=True, num_experts=8, num_experts_per_tok=2, moe_intermediate_size=32,
                              norm_topk_prob=True)),
    "qwen3moe-dense": (Qwen3MoeConfig, Qwen3MoeForCausalLM, OTHERS,
                       dict(num_key_value_heads=4, head_dim=8, tie_word_embeddings=False, num_hidden_layers=3, mlp_only_layers=[0, 2], num_experts=4, num_experts_per_tok=3,
                            moe_intermediate_size=64, norm_topk_prob=False, attention_bias=True)),
    "gpt2-tied": (GPT2Config, GPT2LMHeadModel, GPT2, dict(n_positions=640)),
    "gpt2-bare": (GPT2Config, GPT2LMHeadModel, GPT2, dict(n_positions=64, n_inner=96, tie_word_embeddings=False)),
    "opt-tied": (OPTConfig, OPTForCausalLM, OPT, dict(ffn_dim=96, max_position_embeddings=640)),
    "opt-bare": (OPTConfig, OPTForCausalLM, OPT, dict(hidden_size=64, ffn_dim=64, max_position_embeddings=64, enable_bias=False, tie_word_embeddings=False)),
}


def randomized(config, model_class):
    """Weights large enough that attention is peaked and every bias matters."""
    torch.manual_seed(7)
    model = model_class(config).eval()
    conv = {f"{name}.weight" for name, module in model.named_modules() if type(module).__name__ == "Conv1D"}
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("norm.weight") and "Gemma" in type(model).__name__:  # as they are stored: less 1
                parameter.copy_(0.2 * torch.randn_like(parameter))
            elif name.endswith(("norm.weight", "ln_1.weight", "ln_2.weight", "ln_f.weight", "layer_norm.weight")):
                parameter.copy_(1 + 0.2 * torch.randn_like(parameter))
            elif name.endswith("bias"):
                parameter.copy_(0.3 * torch.randn_like(parameter))
            else:
                columns = parameter.shape[0 if name in conv else -1]
                parameter.copy_(torch.randn_like(parameter) * (1.5 / columns ** 0.5))
    return model


def expert_grams(mlp, x):
    """XᵀX of what reaches every expert's linears: their input and their product, of the tokens that are routed to them; of the product of all tokens too."""
    gram = lambda rows: (rows.double().T @ rows.double()).float()
    _, _, chosen = mlp.gate(x)
    grams, counts = {}, []
    for expert in range(mlp.experts.gate_up_proj.shape[0]):
        gate, up = (x @ mlp.experts.gate_up_proj[expert].T).chunk(2, dim=-1)
        product = torch.nn.functional.silu(gate) * up
        routed = (chosen == expert).any(dim=-1)
        counts.append(int(routed.sum()))
        grams |= {f"gram.experts-input.{expert}": gram(x[routed]), f"gram.experts.{expert}": gram(product[routed]), f"gram.experts.all.{expert}": gram(product)}
    if hasattr(mlp, "shared_expert"):
        shared = mlp.shared_expert
        product = torch.nn.functional.silu(shared.gate_proj(x)) * shared.up_proj(x)
        grams |= {"gram.experts-input.shared": gram(x), "gram.experts.shared": gram(product)}
    return {**grams, "gram.experts-input.all": gram(x), "expert_tokens": torch.tensor(counts).float()}


def golden(model, vocabulary, longest):
    gpt2, opt = hasattr(model, "transformer"), hasattr(model.get_decoder(), "embed_positions")
    layers = model.transformer.h if gpt2 else model.get_decoder().layers
    grams, handles = {}, []
    def watch(name, module):
        def hook(_, inputs):
            x = inputs[0].reshape(-1, inputs[0].shape[-1]).double()
            grams[f"gram.{name}"] = (x.T @ x).float()
        handles.append(module.register_forward_pre_hook(hook))
    stages = GPT2_STAGES if gpt2 else OPT_STAGES if opt else PHI3_STAGES if "Phi3" in type(model).__name__ else LLAMA_STAGES
    sparse = hasattr(getattr(layers[LAYER], "mlp", None), "experts")
    for stage, path in stages.items():
        if not (sparse and stage.startswith("mlp")):
            watch(stage, layers[LAYER].get_submodule(path))
    if sparse:
        hook = lambda module, inputs: grams.update(expert_grams(module, inputs[0].reshape(-1, inputs[0].shape[-1])))
        handles.append(layers[LAYER].mlp.register_forward_pre_hook(hook))
    watch("head-input", model.lm_head)
    generator = torch.Generator().manual_seed(11)
    tokens = torch.randint(0, vocabulary, (2, 24), generator=generator)
    logits = model(tokens, use_cache=False).logits
    for handle in handles:
        handle.remove()
    prompt = tokens[0, :8]
    generated = model.generate(prompt[None], max_new_tokens=12, do_sample=False)[0, 8:]
    integers = dict(tokens=tokens, prompt=prompt, generated=generated)
    floats = {**grams, "logits": logits}
    if longest >= 600:
        long_tokens = torch.randint(0, vocabulary, (1, 600), generator=generator)
        positions = torch.tensor([0, 255, 256, 300, 511, 512, 599])
        floats["long_logits"] = model(long_tokens, use_cache=False).logits[0, positions]
        integers |= dict(long_tokens=long_tokens, long_positions=positions)
    if not (gpt2 or opt):
        rotary = model.model.rotary_emb
        floats["inverse_frequencies"] = getattr(rotary, "full_attention_inv_freq", getattr(rotary, "inv_freq", None))
    return {**floats, **{name: value.int() for name, value in integers.items()}}


def byte_level_tokenizer(family):
    """A small BPE with the pre-tokenization of GPT-2 or of Qwen2, trained on the text itself."""
    tokenizer = Tokenizer(models.BPE())
    if family == "gpt2":
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    else:
        pattern = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
        tokenizer.normalizer = normalizers.NFC()
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.Split(Regex(pattern), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=320, special_tokens=["<|endoftext|>"], initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator([TEXT], trainer)
    return tokenizer


def as_first_released(weights, config):
    """GPT-2 as its first files have it: no prefix, and causal masks among the tensors."""
    mask = torch.tril(torch.ones(config.n_positions, config.n_positions)).view(1, 1, config.n_positions, config.n_positions)
    masks = {f"h.{layer}.attn.bias": mask.clone() for layer in range(config.n_layer)}
    return {**{key.removeprefix("transformer."): value for key, value in weights.items()}, **masks}


def as_published(model):
    """transformers 5 keeps experts in one tensor, and writes one weight per expert and projection."""
    with tempfile.TemporaryDirectory() as directory:
        model.save_pretrained(directory)
        return load_file(pathlib.Path(directory) / "model.safetensors")


def main(out, names):
    for name, (config_class, model_class, shared, overrides) in MODELS.items():
        if names and name not in names:
            continue
        config = config_class(**{**shared, **overrides})
        directory = out / name
        directory.mkdir(parents=True, exist_ok=True)
        if name.startswith("gemma"):
            config._attn_implementation = "eager"  # others leave soft caps out
        model = randomized(config, model_class)
        longest = overrides.get("n_positions") or overrides.get("max_position_embeddings") or 1024
        with torch.no_grad():
            values = golden(model, config.vocab_size, longest)
        weights = {key: value for key, value in model.state_dict().items()
                   if not (config.tie_word_embeddings and key == "lm_head.weight")}
        if "moe" in name or name.startswith("mixtral"):
            weights = as_published(model)
        if name == "gpt2-bare":
            weights = as_first_released(weights, config)
        if name == "opt-bare":
            weights = {key.removeprefix("model."): value for key, value in weights.items()}
        if config.vocab_size == 320:
            tokenizer = byte_level_tokenizer("gpt2" if name.startswith(("gpt2", "opt")) else "qwen2")
            tokenizer.save(str(directory / "tokenizer.json"))
            (directory / "tokenizer_config.json").write_text(
                json.dumps({"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|endoftext|>"}, indent=1) + "\n")
            values["text_tokens"] = torch.tensor(tokenizer.encode(TEXT, add_special_tokens=False).ids).int()
        save_file({key: value.contiguous() for key, value in weights.items()}, directory / "model.safetensors")
        save_file({key: value.contiguous() for key, value in values.items()}, directory / "golden.safetensors")
        saved = {"architectures": [model_class.__name__], **config.to_diff_dict(), "model_type": config.model_type}
        described = {**saved, **{k: getattr(config, k) for k in shared}}
        if name == "gemma3-plain":  # as it was written before transformers 5
            described |= dict(rope_theta=1e6, rope_local_base_freq=1e4, sliding_window_pattern=2)
            for field in ("rope_parameters", "layer_types"):
                described.pop(field, None)
        if name == "mistral-window":  # as it was written before transformers 5
            described["rope_theta"] = described.pop("rope_parameters")["rope_theta"]
        if name == "qwen3moe-grouped":  # as the published ones call it
            described["num_experts"] = described.pop("num_local_experts")
        (directory / "config.json").write_text(json.dumps(described, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else "engine/graphs/fixtures"), sys.argv[2:])
