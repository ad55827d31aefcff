import { z } from 'zod';
import { ACTIVATION_TYPES } from './activation-types';
import { EMBEDDING_TYPES, embeddingTypeNamed } from './embedding-types';
import { FLOAT_TYPES, recipeOfFloats } from './float-types';
import { formatNamed, GGUF_MIXES, type GgufMixName, QUANTIZED_BLOCK_TYPES } from './gguf-names';
import { defaultsOfKernels, defaultsOfMethod } from './method-defaults';
import { QUALITIES, recipeOfQuality } from './quality';
import { QuantloomError } from './quantloom-error';

const RECIPE_FIELDS = {
  /**
   * `gptq`: error compensation with the Hessian (Frantar et al. 2022). `awq`: round-to-nearest with clipped ranges that are searched under the
   * Hessian; for all of AWQ (Lin et al. 2023) with `scaling: awq`, which it sets. The others need no calibration. `rtn`: round-to-nearest.
   * `nf4`, `fp4`: bitsandbytes' 4 bits (QLoRA); `groupSize` is the block of the flattened weight. `llm-int8`: row-wise int8 (LLM.int8).
   * `kquants`: llama.cpp's way, blocks of GGUF by search under squared error weighted by `importance`; needs calibration unless that is `none`.
   * `ternary`: -1, 0 and 1 times the mean magnitude (BitNet b1.58), without calibration: exact for weights that are ternary, and a great loss for
   * others. `stored`: the very codes that a quantized source has, on integer grids; widths and groups follow from it (`quantloom convert`).
   */
  method: z.enum(['rtn', 'gptq', 'awq', 'nf4', 'fp4', 'llm-int8', 'kquants', 'ternary', 'stored']),
  /** Bits per code. 5 and 6 are written in GPTQModel's planar layout. */
  bits: z.literal([2, 3, 4, 5, 6, 8]),
  /** Input columns that share a scale; -1: the whole row. Smaller is more accurate and larger on disk. */
  groupSize: z.literal([-1, 16, 32, 64, 128, 256]),
  /** One scale, and zero point, for the whole weight, with the methods rtn and gptq: groupSize is -1 then. Formats that have none repeat it for each row. */
  perTensor: z.literal(true),
  /** Symmetric: zero point fixed at the middle code. Asymmetric is better at 2 bits. */
  symmetric: z.boolean(),
  /** Order of the columns in GPTQ. `static`: by falling Hessian diagonal, groups stay sequential in the file. `dynamic`: same order, groups follow it (g_idx). */
  actOrder: z.enum(['none', 'static', 'dynamic']),
  /** Share of the mean Hessian diagonal that is added to the diagonal before factorizing. */
  damping: z.number().positive().max(1),
  /** How a group's scale (and zero point) is found: from its extremes, or by search under squared error weighted by the Hessian's diagonal. */
  scales: z.enum(['minmax', 'search']),
  /**
   * What weighs the columns in that search. `diagonal`: the Hessian's diagonal. `pivots`: what GPTQ's compensation leaves of it, 1 / U_jj²,
   * so that the sum is the error that GPTQ adds up. With kquants only, without calibration: `none`, all columns alike; `file`, the importance
   * matrix that `imatrix` names.
   */
  importance: z.enum(['diagonal', 'pivots', 'none', 'file']),
  /** Asymmetric zero points in that search: those of the clipped ranges, or their two neighbours as well. */
  zeros: z.enum(['range', 'neighbours']),
  /** Rounds of closed-form scales and coordinate descent on codes after GPTQ; 0: none. */
  refinements: z.int().min(0).max(100),
  /**
   * Steps of learned rounding (SignRound, AdaRound) on GPTQ's codes, before the refinements; a row keeps the best codes that it passes.
   * Default: none, 0; docs/adr/0015 has what it gains.
   */
  learnedRounding: z.int().min(0).max(10_000),
  /**
   * Share of the mean Hessian diagonal that is added to the diagonal while refining, so that scales and codes fit unseen text better.
   * The errors of the report are without it. Default: none, 0.
   */
  refinementDamping: z.number().min(0).max(1),
  /** Times that GPTQ runs again with the refined scales, and refinements again; a row keeps the best. Needs refinements. */
  restarts: z.int().min(0).max(20),
  /** Rounds after all that in which every group is solved again for several scales and zero points, and refined. Groups of up to 256. */
  groupRounds: z.int().min(0).max(100),
  /**
   * How much of what has gone wrong upstream the linears that end a residual branch make up for: the share of the way from their weight to
   * the one that gives the original's hidden state (GPTAQ, LoaQ), as far as the calibration set is sure of it. Costs a forward pass of the
   * original. Order `stage` with gptq only; elsewhere it is left out. The errors of the report are against the weight so changed. Absent: none.
   */
  mismatch: z.number().min(0).max(1),
  /** With nf4 and fp4: quantize the scales of blocks too, which saves 0.37 bits per weight in blocks of 64. Default: true. */
  doubleQuant: z.boolean(),
  /**
   * The type of GGUF block that the weight is stored as, with the methods gptq and kquants; a format `gguf:<mix>` chooses it where nobody else
   * does, and falls back to a type with smaller blocks where rows are no multiple of its own. Bits, group size and symmetry follow from it.
   */
  blockType: z.string().toUpperCase().pipe(z.enum(QUANTIZED_BLOCK_TYPES)),
  /**
   * The type of float that weights are rounded to, with the methods rtn and gptq, in place of integers. `fp8`: E4M3 with a scale per row;
   * `fp8-tensor`: with one scale; `fp8-block`: with one per 128 x 128 weights. `mxfp4`: E2M1 in groups of 32 with a power of two (OCP Microscaling);
   * `nvfp4`: E2M1 in groups of 16 with a scale in E4M3, and one for all of the weight. `log2`: powers of
   * two from 2^-6 to 1, and 0, in groups of 32. Bits, group size and symmetry follow from it.
   */
  floatType: z.string().toLowerCase().pipe(z.enum(FLOAT_TYPES)),
  /**
   * What runtimes quantize the input of the linear to, token by token, by its largest magnitude (of each 128 features with `fp8-block`): `int8`, for
   * 8 bits with one scale per row, or `fp8`, for the floats of that name. `fp8-static`: with one scale for all tokens, by the largest magnitude on the
   * calibration set, which `rtn` needs then too. `mxfp4` and `nvfp4`, of weights of that name: by the largest magnitude of each 32 or 16 features; what
   * divides scales of `nvfp4` is found while calibrating too. Weights are not changed by it. Default: `fp8` with fp8, else `none`.
   */
  activations: z.enum(['none', ...ACTIVATION_TYPES]),
};

/** How one linear is quantized. Every field can be overridden per module. */
export const RecipeSchema = z.strictObject({
  method: RECIPE_FIELDS.method.default('gptq'),
  bits: RECIPE_FIELDS.bits.default(4),
  groupSize: RECIPE_FIELDS.groupSize.default(128),
  symmetric: RECIPE_FIELDS.symmetric.default(true),
  actOrder: RECIPE_FIELDS.actOrder.default('static'),
  damping: RECIPE_FIELDS.damping.default(0.01),
  scales: RECIPE_FIELDS.scales.default('search'),
  importance: RECIPE_FIELDS.importance.default('diagonal'),
  zeros: RECIPE_FIELDS.zeros.default('range'),
  refinements: RECIPE_FIELDS.refinements.default(3),
  // Not 0, here and below: without them, recipes are those of before they were there, and so are the keys of steps.
  learnedRounding: RECIPE_FIELDS.learnedRounding.optional(),
  refinementDamping: RECIPE_FIELDS.refinementDamping.optional(),
  restarts: RECIPE_FIELDS.restarts.default(0),
  groupRounds: RECIPE_FIELDS.groupRounds.default(0),
  mismatch: RECIPE_FIELDS.mismatch.optional(),
  doubleQuant: RECIPE_FIELDS.doubleQuant.optional(),
  blockType: RECIPE_FIELDS.blockType.optional(),
  perTensor: RECIPE_FIELDS.perTensor.optional(),
  floatType: RECIPE_FIELDS.floatType.optional(),
  activations: RECIPE_FIELDS.activations.optional(),
});
export type Recipe = z.infer<typeof RecipeSchema>;

export const OverrideSchema = z.strictObject({
  /** Full module name (`model.layers.0.mlp.down_proj`), a glob with `*`, or a regular expression after `re:`. The last override that matches a field wins. */
  match: z.string().min(1),
  /** Keep the module in 16 bit. */
  skip: z.boolean().optional(),
  // Without the defaults: a field that an override leaves out stays what it was.
  ...z.object(RECIPE_FIELDS).partial().shape,
});
export type Override = z.infer<typeof OverrideSchema>;

export const CalibrationSchema = z.strictObject({
  /** A text file, a JSONL file (field `text`), or `demo`: the text that ships with Quantloom. */
  source: z.string().min(1).default('demo'),
  /** Number of sequences. */
  samples: z.int().positive().max(65536).default(128),
  /** Tokens per sequence. */
  sequenceLength: z.int().min(8).max(131072).default(2048),
  /** Where the sequences start in the text is drawn with this seed. */
  seed: z.int().min(0).max(0xffffffff).default(0),
  /** Tokens per slice: the unit of calibration work. Decides parallelism; part of the result's identity (sums are taken per slice). */
  sliceTokens: z.int().positive().default(16384),
  /**
   * What the factors of linears and of XᵀX are rounded to; sums are float32 and float64. `bfloat16` is twice as fast and more where the
   * processor multiplies it, and what these models are trained and served in; its noise of 2⁻⁹ is far below any damping.
   */
  precision: z.enum(['float32', 'bfloat16']).default('bfloat16'),
  /**
   * Share of every slice that the original model is run on too, where linears make up for a `mismatch`: it is estimated from that part.
   * Quality `best` sets 1.
   */
  originalShare: z
    .number()
    .positive()
    .max(1)
    .default(1 / 16),
  /**
   * In a mixture of experts, every token counts for every expert while calibrating, also for those that the router would not send it to: no expert
   * starves, at the price of all of them computing everything. The forward pass stays what it is. Default: the tokens that are routed to an expert.
   */
  allExperts: z.boolean().optional(),
});

export const EvaluationSchema = z.strictObject({
  /** Text file, or `demo`. */
  text: z.string().min(1),
  /** Tokens per window; windows do not overlap; the first token of a window is not scored. */
  context: z.int().min(2).max(131072).default(512),
  /** Bound on the tokens that are scored. */
  maxTokens: z.int().positive().default(16384),
  /** Perplexity of the original too. */
  original: z.boolean().default(true),
});

const MIXED_FORMATS = GGUF_MIXES.map((mix): `gguf:${GgufMixName}` => `gguf:${mix}`);

/** `gguf:<mix>`: GGUF with the block types that llama.cpp's quantize chooses under that name. */
export const FORMATS = [
  'gptq',
  'gptq_v2',
  'compressed-tensors',
  'awq',
  'gguf',
  ...MIXED_FORMATS,
  'bitsandbytes',
  'onnx',
  'dequantized',
  'dequantized-float32',
] as const;
const FormatSchema = z.string().transform(formatNamed).pipe(z.enum(FORMATS));

/**
 * The whole input of a job: one JSON object, which can be pasted into Temporal's "Start Workflow". Only `model` and `output` are required.
 */
export const QuantizationSpecSchema = z.strictObject({
  /** Directory of safetensors, GGUF file, `hf:owner/name[@revision]`, `s3://bucket/prefix`, or `demo`. */
  model: z.string().min(1),
  /** Take a model that is quantized already, and quantize the weights that its codes stand for. Without it such a model is refused. */
  dequantize: z.literal(true).optional(),
  /** Directory that is created with the checkpoint in it. */
  output: z.string().min(1),
  overwrite: z.boolean().default(false),
  /** What sets the fields of `recipe` that are not given (recipeOfQuality). In a parsed spec they are set. */
  quality: z.enum(QUALITIES).default('balanced'),
  recipe: RecipeSchema.prefault({}),
  /**
   * Mean of bits per code over the quantized weights: a width is chosen for every linear whose bits no override gives, by its error at
   * each of `mixedWidths`; linears that share an input get the same. null: `recipe.bits` everywhere.
   */
  averageBits: z.number().min(2).max(8).nullable().default(null),
  /**
   * Widths to choose from. One linear of 5 or 6 bits makes the whole checkpoint planar, which GPTQModel alone reads; so they are
   * not among the default.
   */
  mixedWidths: z.array(RECIPE_FIELDS.bits).min(1).default([2, 3, 4, 8]),
  overrides: z.array(OverrideSchema).max(1000).default([]),
  /** Keep the language-model head in 16 bit. */
  keepHead: z.boolean().default(true),
  /**
   * What the embedding is stored in; a head that is tied to it, and kept, is the same matrix. Of formats `gguf` and `gguf:<mix>`: a type of block, by
   * search without importance. Of `onnx`: `int4` or `int8`, to nearest, with the recipe's groups, symmetry and search for scales. Default: that of the
   * mix; 16 bit without one.
   */
  embedding: z.string().overwrite(embeddingTypeNamed).pipe(z.enum(EMBEDDING_TYPES)).optional(),
  /**
   * When quantized weights replace the original ones upstream. `stage`: before the next stage is captured (true-sequential).
   * `layer`: a whole layer is captured with its own original weights. `independent`: never, so that layers can be solved anywhere.
   */
  order: z.enum(['stage', 'layer', 'independent']).default('stage'),
  /**
   * `hadamard`: hidden states and attention values are turned by a randomized Hadamard matrix that is folded into the weights
   * (docs/adr has what it gains and costs). The result is a plain model of the same architecture; a head that was tied to the
   * embedding becomes a tensor of its own.
   */
  rotation: z.enum(['none', 'hadamard']).default('none'),
  /**
   * `awq`: weights of input channels that matter are scaled up before they are rounded, by scales that are searched under the error of the output
   * and folded into the norm or linear before (docs/adr has what it gains). The result is a plain model of the same architecture. Costs one
   * more calibration pass. `smoothquant`: by the magnitudes of inputs and weights alone, so that inputs have no outliers where runtimes quantize them
   * (recipe.activations); at the same cost. Default: `none`; with the method `awq`, `awq`.
   */
  scaling: z.enum(['none', 'awq', 'smoothquant']).default('none'),
  /** One checkpoint is written per format; with several, each in a subdirectory of `output` named after it. Default with zero points: `gptq_v2`. */
  formats: z.array(FormatSchema).min(1).default(['gptq']),
  calibration: CalibrationSchema.prefault({}),
  /**
   * An importance matrix of llama.cpp (`llama-imatrix`, GGUF or legacy): with the method kquants it takes the place of calibration. It is of the
   * model as it is, so neither rotated nor scaled.
   */
  imatrix: z.string().min(1).optional(),
  /**
   * Write no checkpoint, but llama.cpp's importance matrix of the model on the calibration set: `output` is that file. Sets recipe, formats and order.
   */
  importanceOnly: z.literal(true).optional(),
  evaluation: EvaluationSchema.nullable().default(null),
  /** Layers solved at the same time in `order: independent`. */
  concurrency: z.int().min(1).max(200).default(8),
  /** Activities that share the rows of a stage's linears, so that several workers solve them. Does not change the result. */
  solveParts: z.int().min(1).max(64).default(1),
});
export type QuantizationSpec = z.output<typeof QuantizationSpecSchema>;
export type QuantizationSpecInput = z.input<typeof QuantizationSpecSchema>;

/**
 * Fills in what the quality sets, then the defaults. Parsing a parsed spec changes nothing.
 *
 * @throws QuantloomError InvalidSpecification that names every bad field.
 */
export function parseQuantizationSpec(input: unknown): QuantizationSpec {
  const parsed = QuantizationSpecSchema.safeParse(withQuality(input));
  if (parsed.success) return parsed.data;
  const faults = parsed.error.issues.map((issue) => `${issue.path.join('.') || '(whole object)'}: ${issue.message}`);
  throw new QuantloomError('InvalidSpecification', `The quantization spec is not valid. ${faults.join('; ')}`, {
    details: { fields: parsed.error.issues.map((issue) => issue.path.join('.')) },
  });
}

/** What of a spec decides which fields its quality sets. */
const QualitySchema = z.object({
  quality: QuantizationSpecSchema.shape.quality,
  order: QuantizationSpecSchema.shape.order,
  imatrix: QuantizationSpecSchema.shape.imatrix,
  importanceOnly: QuantizationSpecSchema.shape.importanceOnly,
  calibration: z.looseObject({}).prefault({}),
  recipe: z
    .looseObject({
      method: RecipeSchema.shape.method,
      bits: RECIPE_FIELDS.bits.optional(),
      floatType: RecipeSchema.shape.floatType,
      perTensor: RecipeSchema.shape.perTensor,
      activations: RecipeSchema.shape.activations,
    })
    .prefault({}),
});

/** Every linear's input is wanted, and nothing is quantized before it. */
const ORIGINAL_MODEL = {
  order: 'independent',
  formats: ['dequantized'],
  recipe: { method: 'gptq', groupSize: -1, actOrder: 'none', refinements: 0 },
};

/** Steps that solve scales again are for scales of rows. */
export const RECIPE_PER_TENSOR = { groupSize: -1, restarts: 0, groupRounds: 0 } as const;

/** Fills in what follows from other fields. Faults are left to the schema of the whole spec. */
function withQuality(input: unknown): unknown {
  const given = QualitySchema.safeParse(input);
  if (!given.success) return input;
  if (given.data.importanceOnly) return { ...(input as object), ...ORIGINAL_MODEL };
  const { quality, order, imatrix, recipe: chosen } = given.data;
  const { recipe: fields, formats } = input as { recipe?: object; formats?: unknown };
  const own = defaultsOfMethod(chosen.method);
  const kernels = defaultsOfKernels(chosen);
  const floats = chosen.floatType && recipeOfFloats(chosen.floatType);
  const whole = chosen.perTensor && RECIPE_PER_TENSOR;
  const { bits } = {
    ...RecipeSchema.parse({}),
    ...kernels?.recipe,
    ...(chosen.bits && { bits: chosen.bits }),
    ...floats,
  };
  const weighed = chosen.method === 'kquants' && imatrix !== undefined ? { importance: 'file' } : {};
  const set = { ...(own?.recipe ?? recipeOfQuality(quality, bits, order)), ...weighed };
  const recipe: { symmetric?: unknown } = { ...set, ...kernels?.recipe, ...fields, ...floats, ...whole };
  // GPTQModel reads zero points that others found in the second version of the format only.
  const format = formats ?? own?.formats ?? kernels?.formats ?? (recipe.symmetric === false ? ['gptq_v2'] : undefined);
  const calibration = quality === 'best' ? { calibration: { originalShare: 1, ...given.data.calibration } } : {};
  const scaling = own?.scaling && (input as { scaling?: unknown }).scaling === undefined && { scaling: own.scaling };
  return { ...(input as object), recipe, ...calibration, ...(format !== undefined && { formats: format }), ...scaling };
}
