"""Quantizes a model and its inputs with llm-compressor, with scales of inputs from given tokens.

usage: static-scales.py MODEL OUT SCHEME SEQUENCES   (needs: torch, transformers, llmcompressor, datasets)

SCHEME: a name that compressed-tensors knows, as FP8 or NVFP4; the head is kept. SEQUENCES: a JSON file with a list of lists of token ids.
"""
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
from datasets import Dataset
from llmcompressor import oneshot
from llmcompressor.modifiers.quantization import QuantizationModifier
from transformers import AutoModelForCausalLM, AutoTokenizer

source, out, scheme, path = sys.argv[1:]
sequences = json.load(open(path))
torch.set_num_threads(int(os.environ.get("THREADS", "2")))
model = AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32, device_map="cpu")
columns = {"input_ids": sequences, "attention_mask": [[1] * len(tokens) for tokens in sequences]}
oneshot(
    model=model,
    recipe=QuantizationModifier(targets="Linear", scheme=scheme, ignore=["lm_head"]),
    dataset=Dataset.from_dict(columns),
    num_calibration_samples=len(sequences),
    max_seq_length=len(sequences[0]),
)
model.save_pretrained(out, save_compressed=True)
AutoTokenizer.from_pretrained(source).save_pretrained(out)
