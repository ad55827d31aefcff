"""llm-compressor's GPTQ on a CPU with its own defaults, the widths given."""
from quantizing import Timing, parse_arguments, read_sequences, report

arguments = parse_arguments()
timing = Timing()

from datasets import Dataset
from llmcompressor import oneshot
from llmcompressor.modifiers.quantization import GPTQModifier
from transformers import AutoModelForCausalLM, AutoTokenizer

timing.note("import")
sequences = read_sequences(arguments.sequences)
model = AutoModelForCausalLM.from_pretrained(arguments.model, dtype="auto")
tokenizer = AutoTokenizer.from_pretrained(arguments.model)
timing.note("load")
weights = {
    "num_bits": arguments.bits,
    "type": "int",
    "symmetric": not arguments.asymmetric,
    "strategy": "group",
    "group_size": arguments.group_size,
}
modifier = GPTQModifier(config_groups={"all": {"targets": ["Linear"], "weights": weights}}, ignore=["lm_head"])
oneshot(
    model=model,
    processor=tokenizer,
    dataset=Dataset.from_dict({"input_ids": sequences, "attention_mask": [[1] * len(ids) for ids in sequences]}),
    recipe=[modifier],
    max_seq_length=len(sequences[0]),
    num_calibration_samples=len(sequences),
    output_dir=None,
)
timing.note("quantize")
model.save_pretrained(arguments.out, save_compressed=True)
tokenizer.save_pretrained(arguments.out)
timing.note("save")
report(
    timing,
    {
        "actorder": str(getattr(modifier.actorder, "value", modifier.actorder)),
        "dampening_frac": modifier.dampening_frac,
        "block_size": modifier.block_size,
        "symmetric": not arguments.asymmetric,
    },
)
