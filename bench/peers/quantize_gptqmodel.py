"""GPTQModel's GPTQ on a CPU with its own defaults, the widths given."""
from quantizing import Timing, parse_arguments, read_sequences, report

arguments = parse_arguments()
timing = Timing()

from gptqmodel import GPTQModel, QuantizeConfig
from gptqmodel.quantization import FORMAT
from transformers import AutoTokenizer

config = QuantizeConfig(
    bits=arguments.bits,
    group_size=arguments.group_size,
    sym=not arguments.asymmetric,
    device="cpu",
    # Layout v1 cannot hold every zero point of narrow codes.
    **({"format": FORMAT.GPTQ_V2} if arguments.asymmetric else {}),
)
timing.note("import")
model = GPTQModel.load(arguments.model, config)
timing.note("load")
sequences = read_sequences(arguments.sequences)
model.quantize([{"input_ids": ids, "attention_mask": [1] * len(ids)} for ids in sequences], batch_size=4)
timing.note("quantize")
model.save(arguments.out)
AutoTokenizer.from_pretrained(arguments.model).save_pretrained(arguments.out)
timing.note("save")
report(
    timing,
    {
        "true_sequential": config.true_sequential,
        "desc_act": config.desc_act,
        "act_group_aware": config.act_group_aware,
        "damp_percent": config.damp_percent,
        "mse": config.mse,
        "sym": config.sym,
        "batch_size": 4,
    },
)
