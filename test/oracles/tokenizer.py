"""Writes engine/calibration/fixtures: four small tokenizers, and the token ids that transformers gives for hard texts.

Run from the repository root:  python test/oracles/tokenizer.py
With model directories and text files, prints the number and the SHA-256 (int32, little-endian) of each text's ids instead:
  python test/oracles/tokenizer.py --model DIRECTORY ... --text FILE ...
"""

import argparse
import hashlib
import json
import os

import numpy as np
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

FIXTURES = "engine/calibration/fixtures"
DEMO = "assets/demo-model"
HELD_OUT = f"{DEMO}/held-out.txt"
LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
TEXTS = [
    "Hello, world!",
    " leading and trailing ",
    "two  spaces, three   spaces\tand a tab",
    "lines\nand\r\nother lines\n\n\nend\n",
    "1234567890 3.14159 1,000,000 x86",
    "don't WON'T we'll I've it's 'quoted' o'clock",
    "caf\u00e9 nai\u0308ve \u00c5ngstr\u00f6m \u2018curly\u2019 \u2014 dash\u2026",
    "\u4f60\u597d\u4e16\u754c \u3053\u3093\u306b\u3061\u306f \uc548\ub155 \u0627\u0644\u0633\u0644\u0627\u0645",
    "emoji \U0001f600\U0001f468\u200d\U0001f469\u200d\U0001f467 \U0001f1e9\U0001f1ea flags",
    "\u00a0no-break\u2009thin\u3000ideographic",
    "code: if (a[i] != b->c) { return \"x\\n\"; } // ***",
    "before<|endoftext|>after <|endoftext|> and again",
    "\u0000\u0001\u007f controls",
    "1\u00bd inch, 5 m\u00b2, \u2460 \u2163 \u0663\u0664 x\u00b3y",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "ends with a space ",
    "\n",
    " ",
    "\u2581 the SentencePiece space",
]


def ids_of(tokenizer, text):
    return tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]


def digest(ids):
    return {"count": len(ids), "sha256": hashlib.sha256(np.array(ids, dtype="<i4").tobytes()).hexdigest()}


def load(directory):
    return PreTrainedTokenizerFast(tokenizer_file=os.path.join(directory, "tokenizer.json"))


def train(name, pre_tokenizer=None, normalizer=None, byte_level=True):
    """A tokenizer with 256 byte tokens and about 250 merges; trained on words, whatever it does with spaces later."""
    if byte_level:
        tokenizer = Tokenizer(models.BPE())
        tokenizer.decoder = decoders.ByteLevel()
        alphabet = pre_tokenizers.ByteLevel.alphabet()
    else:
        tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=False))
        tokenizer.decoder = decoders.Metaspace()
        alphabet = []
    tokenizer.pre_tokenizer = pre_tokenizer if pre_tokenizer is not None else pre_tokenizers.Metaspace()
    if normalizer is not None and byte_level:
        tokenizer.normalizer = normalizer
    trainer = trainers.BpeTrainer(
        vocab_size=520,
        special_tokens=["<|endoftext|>", "<|begin|>"] + ([] if byte_level else ["<unk>"]),
        initial_alphabet=alphabet,
        show_progress=False,
    )
    tokenizer.train_from_iterator([open(HELD_OUT, encoding="utf-8").read()[:200000]], trainer)
    if pre_tokenizer is None:
        tokenizer.pre_tokenizer = None
        tokenizer.normalizer = normalizer
    tokenizer.post_processor = processors.TemplateProcessing(single="<|begin|> $A", special_tokens=[("<|begin|>", 1)])
    directory = f"{FIXTURES}/{name}"
    os.makedirs(directory, exist_ok=True)
    tokenizer.save(f"{directory}/tokenizer.json", pretty=False)
    if normalizer is not None and not byte_level:
        add_byte_tokens(f"{directory}/tokenizer.json")
    with open(f"{directory}/tokenizer_config.json", "w") as file:
        json.dump({"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": {"content": "<|endoftext|>"}}, file)
    return directory


def add_byte_tokens(path):
    """As in Llama 2: what has no token is spelled in bytes."""
    with open(path) as file:
        tokenizer = json.load(file)
    vocabulary = tokenizer["model"]["vocab"]
    first = len(vocabulary)
    vocabulary.update({f"<0x{byte:02X}>": first + byte for byte in range(256)})
    tokenizer["model"]["byte_fallback"] = True
    tokenizer["decoder"] = {
        "type": "Sequence",
        "decoders": [
            {"type": "Replace", "pattern": {"String": "\u2581"}, "content": " "},
            {"type": "ByteFallback"},
            {"type": "Fuse"},
            {"type": "Strip", "content": " ", "start": 1, "stop": 0},
        ],
    }
    with open(path, "w") as file:
        json.dump(tokenizer, file, ensure_ascii=False)


def write_fixtures():
    byte_level = lambda **options: pre_tokenizers.ByteLevel(add_prefix_space=False, **options)
    directories = {
        "demo": DEMO,
        "digits": train(
            "digits", pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), byte_level()])
        ),
        "llama3": train(
            "llama3",
            pre_tokenizers.Sequence(
                [pre_tokenizers.Split(Regex(LLAMA3), behavior="isolated"), byte_level(use_regex=False)]
            ),
            normalizer=normalizers.NFC(),
        ),
        "metaspace": train("metaspace", pre_tokenizers.Metaspace(prepend_scheme="first", split=False), byte_level=False),
        "llama2": train(
            "llama2",
            normalizer=normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")]),
            byte_level=False,
        ),
    }
    held_out = open(HELD_OUT, encoding="utf-8", newline="").read()[:150000]
    fixture = {"texts": TEXTS, "tokenizers": {}}
    for name, directory in directories.items():
        tokenizer = load(directory)
        fixture["tokenizers"][name] = {
            "ids": [ids_of(tokenizer, text) for text in TEXTS],
            "heldOut": digest(ids_of(tokenizer, held_out)),
        }
    with open(f"{FIXTURES}/tokens.json", "w") as file:
        json.dump(fixture, file)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", nargs="*", default=[])
    parser.add_argument("--text", nargs="*", default=[])
    options = parser.parse_args()
    if not options.model:
        write_fixtures()
    for model in options.model:
        tokenizer = load(model)
        for text in TEXTS:
            print(json.dumps(text), ids_of(tokenizer, text))
        for file in options.text:
            print(file, digest(ids_of(tokenizer, open(file, encoding="utf-8", newline="").read())))
