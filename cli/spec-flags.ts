import { type Command, Option } from 'commander';
import { collected, commaList, realNumber, wholeNumber } from './flag-values';

export interface SpecFlag {
  readonly flags: string;
  readonly description: string;
  /** Where the value goes in QuantizationSpec. */
  readonly path: readonly [string] | readonly [string, string];
  /** Of the text after the flag. Absent: the text itself. */
  readonly parse?: (value: string) => unknown;
  /** For flags without a value. */
  readonly value?: unknown;
}

/** One flag per field of QuantizationSpec that is a single value. The defaults are the spec's own. */
export const SPEC_FLAGS: readonly SpecFlag[] = [
  {
    flags: '--quality <name>',
    description: 'fast, balanced (default) or best: sets what of the recipe is not given',
    path: ['quality'],
  },
  {
    flags: '--method <method>',
    description:
      'gptq (default), awq, rtn, kquants, nf4, fp4, llm-int8 or ternary; stored: the codes of a quantized source (see convert)',
    path: ['recipe', 'method'],
  },
  {
    flags: '--bits <n>',
    description: 'bits per code: 2, 3, 4 (default), 5, 6, 8; a fraction, e.g. 3.5, is --average-bits',
    path: ['recipe', 'bits'],
    parse: realNumber,
  },
  {
    flags: '--average-bits <n>',
    description: 'mean of bits, from 2 to 8: a width is chosen for every linear by its error',
    path: ['averageBits'],
    parse: realNumber,
  },
  {
    flags: '--mixed-widths <list>',
    description: 'widths to choose from (default 2,3,4,8; 5 and 6 make a checkpoint that only GPTQModel reads)',
    path: ['mixedWidths'],
    parse: (list) => commaList(list).map(realNumber),
  },
  {
    flags: '--group-size <n>',
    description:
      'columns that share a scale: 16, 32, 64, 128 (default), 256, -1 for the whole row; nf4, fp4: the block (default 64)',
    path: ['recipe', 'groupSize'],
    parse: wholeNumber,
  },
  {
    flags: '--per-tensor',
    description: 'gptq, rtn: one scale for the whole weight, in place of groups',
    path: ['recipe', 'perTensor'],
    value: true,
  },
  {
    flags: '--double-quant',
    description: 'nf4, fp4: quantize the scales too (default)',
    path: ['recipe', 'doubleQuant'],
    value: true,
  },
  {
    flags: '--no-double-quant',
    description: 'nf4, fp4: scales in float32',
    path: ['recipe', 'doubleQuant'],
    value: false,
  },
  {
    flags: '--float-type <type>',
    description:
      'gptq, rtn: floats in place of integers: fp8 (a scale per row), fp8-tensor, fp8-block (128 x 128), mxfp4, nvfp4, log2',
    path: ['recipe', 'floatType'],
  },
  {
    flags: '--activations <type>',
    description:
      'what runtimes quantize inputs to, token by token: int8 (with 8 bits per row), fp8 (default with fp8), none; fp8-static: with a scale from the calibration set; mxfp4, nvfp4 with such weights',
    path: ['recipe', 'activations'],
  },
  { flags: '--sym', description: 'symmetric codes (default)', path: ['recipe', 'symmetric'], value: true },
  { flags: '--asym', description: 'asymmetric codes, with zero points', path: ['recipe', 'symmetric'], value: false },
  {
    flags: '--act-order <mode>',
    description: 'order of columns: none, static (default), dynamic',
    path: ['recipe', 'actOrder'],
  },
  {
    flags: '--damping <share>',
    description: 'share of the mean Hessian diagonal added to it (default 0.01)',
    path: ['recipe', 'damping'],
    parse: realNumber,
  },
  { flags: '--scales <how>', description: 'minmax or search (default)', path: ['recipe', 'scales'] },
  {
    flags: '--importance <what>',
    description:
      'what weighs columns in the search of scales: diagonal or pivots (default: of the quality); kquants: none, and file (see --imatrix), need no calibration',
    path: ['recipe', 'importance'],
  },
  {
    flags: '--zeros <which>',
    description: 'zero points in that search: range or neighbours (default: of the quality)',
    path: ['recipe', 'zeros'],
  },
  {
    flags: '--refinements <n>',
    description: 'rounds of refinement after GPTQ (default 3; 0: none)',
    path: ['recipe', 'refinements'],
    parse: wholeNumber,
  },
  {
    flags: '--learned-rounding <steps>',
    description: 'steps of learned rounding (SignRound) between GPTQ and the refinements (default 0: none)',
    path: ['recipe', 'learnedRounding'],
    parse: wholeNumber,
  },
  {
    flags: '--refinement-damping <share>',
    description: 'share of the mean Hessian diagonal added to it while refining, 0 to 1 (default 0)',
    path: ['recipe', 'refinementDamping'],
    parse: realNumber,
  },
  {
    flags: '--restarts <n>',
    description: 'times that GPTQ runs again with the refined scales (default: of the quality)',
    path: ['recipe', 'restarts'],
    parse: wholeNumber,
  },
  {
    flags: '--group-rounds <n>',
    description: 'rounds in which every group is solved again (default: of the quality)',
    path: ['recipe', 'groupRounds'],
    parse: wholeNumber,
  },
  {
    flags: '--mismatch <share>',
    description:
      'share of what went wrong upstream that o_proj and down_proj make up for, 0 to 1 (default: of the quality)',
    path: ['recipe', 'mismatch'],
    parse: realNumber,
  },
  {
    flags: '--order <order>',
    description: 'when quantized weights replace the originals upstream: stage (default), layer, independent',
    path: ['order'],
  },
  {
    flags: '--rotation <how>',
    description: 'none (default), or hadamard: a rotation folded into the weights first',
    path: ['rotation'],
  },
  {
    flags: '--scaling <how>',
    description:
      'none (default), awq or smoothquant: input channels scaled before rounding, folded into the norm or linear before',
    path: ['scaling'],
  },
  {
    flags: '--format <list>',
    description:
      'checkpoint formats: gptq, gptq_v2, compressed-tensors, awq, gguf, bitsandbytes, onnx, dequantized, dequantized-float32, or several with commas; ' +
      'or one of gguf:q4_k_m and the other mixes of llama.cpp, with gptq or kquants',
    path: ['formats'],
    parse: commaList,
  },
  {
    flags: '--embedding <type>',
    description:
      'of the embedding: gguf a block type, such as Q8_0 (default: that of the mix), onnx int4 or int8; else 16 bit',
    path: ['embedding'],
  },
  {
    flags: '--calibration <source>',
    description: 'text file, JSONL file, or demo (default)',
    path: ['calibration', 'source'],
  },
  {
    flags: '--imatrix <file>',
    description: "kquants: llama.cpp's importance matrix (llama-imatrix), in place of calibration",
    path: ['imatrix'],
  },
  {
    flags: '--samples <n>',
    description: 'calibration sequences (default 128)',
    path: ['calibration', 'samples'],
    parse: wholeNumber,
  },
  {
    flags: '--sequence-length <tokens>',
    description: 'tokens per calibration sequence (default 2048)',
    path: ['calibration', 'sequenceLength'],
    parse: wholeNumber,
  },
  {
    flags: '--seed <n>',
    description: 'where calibration sequences start is drawn with it (default 0)',
    path: ['calibration', 'seed'],
    parse: wholeNumber,
  },
  {
    flags: '--slice-tokens <tokens>',
    description: 'calibration tokens per unit of work; unit of parallel work (default 16384)',
    path: ['calibration', 'sliceTokens'],
    parse: wholeNumber,
  },
  {
    flags: '--original-share <share>',
    description: 'share of the calibration set that a mismatch is estimated from (default 0.0625; quality best 1)',
    path: ['calibration', 'originalShare'],
    parse: realNumber,
  },
  {
    flags: '--all-experts',
    description: 'mixture of experts: every token calibrates every expert',
    path: ['calibration', 'allExperts'],
    value: true,
  },
  {
    flags: '--precision <type>',
    description: 'what factors are rounded to while calibrating: bfloat16 (default) or float32',
    path: ['calibration', 'precision'],
  },
  {
    flags: '--dequantize',
    description: 'take a model that is quantized already, as the weights that its codes stand for',
    path: ['dequantize'],
    value: true,
  },
  {
    flags: '--keep-head',
    description: 'keep the language-model head in 16 bit (default)',
    path: ['keepHead'],
    value: true,
  },
  { flags: '--no-keep-head', description: 'quantize the head too', path: ['keepHead'], value: false },
  {
    flags: '--evaluate <file>',
    description: 'measure perplexity on this text (or demo) at the end',
    path: ['evaluation', 'text'],
  },
  {
    flags: '--context <tokens>',
    description: 'tokens per window of the evaluation (default 512)',
    path: ['evaluation', 'context'],
    parse: wholeNumber,
  },
  {
    flags: '--max-tokens <tokens>',
    description: 'bound on the tokens evaluated (default 16384)',
    path: ['evaluation', 'maxTokens'],
    parse: wholeNumber,
  },
  {
    flags: '--skip-original',
    description: "do not measure the original's perplexity",
    path: ['evaluation', 'original'],
    value: false,
  },
  {
    flags: '--concurrency <layers>',
    description: 'layers solved at the same time with --order independent (default 8)',
    path: ['concurrency'],
    parse: wholeNumber,
  },
  {
    flags: '--solve-parts <n>',
    description:
      'activities that share the rows of a stage (default: as many as there are CPU workers, where linears are large enough)',
    path: ['solveParts'],
    parse: wholeNumber,
  },
  {
    flags: '--out <dir>',
    description: 'directory to create, or s3://BUCKET/PREFIX (default: ./<model>-<scheme>)',
    path: ['output'],
  },
  { flags: '--overwrite', description: 'replace the output if it exists', path: ['overwrite'], value: true },
];

/** Adds the flags of `quantize` and `plan`. */
export function addSpecFlags(command: Command): void {
  addFlags(command, SPEC_FLAGS);
  command
    .option(
      '--override <pattern:field=value,...>',
      'another recipe for modules that match, e.g. "*.down_proj:bits=8,groupSize=64" (repeatable)',
      collected,
    )
    .option('--skip <pattern>', 'keep modules that match in 16 bit (repeatable; after every --override)', collected)
    .option('--spec <file>', 'JSON file with a QuantizationSpec; flags override its fields');
}

/** Only these. */
export function addFlags(command: Command, flags: readonly SpecFlag[]): void {
  for (const flag of flags) {
    const option = new Option(flag.flags, flag.description);
    if (flag.parse) option.argParser(flag.parse);
    if (flag.flags === '--asym') option.conflicts('sym');
    command.addOption(option);
  }
}
