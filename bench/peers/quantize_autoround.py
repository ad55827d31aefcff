"""auto-round (SignRound) on a CPU, written as a GPTQ checkpoint."""
from quantizing import Timing, parse_arguments, read_sequences, report

arguments = parse_arguments()
timing = Timing()

import torch
from auto_round import AutoRound
from transformers import AutoModelForCausalLM, AutoTokenizer

timing.note("import")
sequences = read_sequences(arguments.sequences)
model = AutoModelForCausalLM.from_pretrained(arguments.model, dtype="auto")
tokenizer = AutoTokenizer.from_pretrained(arguments.model)
timing.note("load")
rounder = AutoRound(
    model,
    tokenizer,
    bits=arguments.bits,
    group_size=arguments.group_size,
    sym=not arguments.asymmetric,
    iters=arguments.iterations,
    nsamples=len(sequences),
    seqlen=len(sequences[0]),
    batch_size=8,
    dataset=[torch.tensor([ids]) for ids in sequences],
    device_map="cpu",
    enable_torch_compile=False,
)
rounder.quantize()
timing.note("quantize")
rounder.save_quantized(arguments.out, format="auto_gptq")
tokenizer.save_pretrained(arguments.out)
timing.note("save")
report(timing, {"iters": arguments.iterations, "batch_size": 8, "sym": not arguments.asymmetric})
