"""A small SentencePiece-like tokenizer (BPE with byte fallback, as Llama 2 has) and what transformers' library makes of texts.

usage: python gguf_tokenizer.py FIXTURE.json

Needs tokenizers.
"""

import json
import sys

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, processors, trainers

tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
corpus = ["the cat sat on the mat", "then the other cat ate that hat", "a mat that the cat ate is the cat's", "on and on the hat sat"] * 5
special = [AddedToken(text, special=True, normalized=False) for text in ["<unk>", "<s>", "</s>"]]
trainer = trainers.BpeTrainer(vocab_size=340, special_tokens=special + [f"<0x{byte:02X}>" for byte in range(256)], show_progress=False)
tokenizer.train_from_iterator(corpus, trainer)
state = json.loads(tokenizer.to_str())
state["added_tokens"] = [token for token in state["added_tokens"] if token["id"] < 3]
tokenizer = Tokenizer.from_str(json.dumps(state))
tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", 1)])
texts = ["the cat sat", "that other hat is on a mat", "then: Größe 🦙", "  two  spaces", "the<s>cat"]
fixture = {"tokenizer": json.loads(tokenizer.to_str()), "encoded": {text: tokenizer.encode(text).ids for text in texts}}
with open(sys.argv[1], "w", encoding="utf-8") as file:
    json.dump(fixture, file, ensure_ascii=False)
    file.write("\n")
