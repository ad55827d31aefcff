import { z } from 'zod';
import { QuantizationSpecSchema, QuantloomError, RecipeSchema } from '../spec';

export const MANIFEST_FILE = 'quantloom.json';
const MANIFEST_VERSION = 1;

const Sha256Schema = z.string().regex(/^[0-9a-f]{64}$/);
const FileSchema = z.strictObject({ name: z.string(), bytes: z.int().min(0), sha256: Sha256Schema });

const LinearSchema = z.strictObject({
  rows: z.int().positive(),
  columns: z.int().positive(),
  /** null: kept in 16 bit. */
  recipe: RecipeSchema.nullable(),
  /** The number that runtimes quantize all inputs with. Absent: there is none. */
  inputScale: z.number().positive().optional(),
  /** `weightSha256` of what the quantizer produced: what a reader of the files has to get. null: kept in 16 bit, or not recorded. */
  weightSha256: Sha256Schema.nullable(),
});

const LinearReportSchema = z.object({
  name: z.string(),
  rows: z.int(),
  columns: z.int(),
  recipe: RecipeSchema.nullable(),
  relativeError: z.number().nullable(),
  relativeWeightError: z.number(),
  relativeErrorBeforeRefinement: z.number().nullable(),
  relativeErrorAfter: z
    .partialRecord(z.enum(['learnedRounding', 'refinements', 'restarts', 'groupRounds']), z.number())
    .optional(),
  tokens: z.number().optional(),
  rung: z.enum(['as-asked', 'more-damping', 'diagonal-floor', 'round-to-nearest', 'not-needed']),
  damping: z.number(),
  condition: z.number().optional(),
  inputScale: z.number().positive().optional(),
  deadColumns: z.int(),
});

const BlockSchema = z.object({
  index: z.int(),
  name: z.string(),
  linears: z.array(LinearReportSchema),
  calibrationTokens: z.int(),
  nonFiniteSequences: z.int(),
  skipped: z.boolean(),
});

/**
 * Everything about where a checkpoint comes from: the file `quantloom.json`, written last.
 *
 * All fields but `run` follow from the inputs and the versions; two runs over the same are compared without `run`. No field holds
 * a path of the machine that wrote it.
 */
export const ManifestSchema = z.strictObject({
  manifestVersion: z.literal(MANIFEST_VERSION),
  quantloom: z.string(),
  format: z.string(),
  /** Variant of the format that the tensors are laid out in, e.g. `gptq_p`. */
  layout: z.string(),
  source: z.strictObject({
    /** Last part of the model's directory. */
    name: z.string(),
    /** Where it was fetched from, pinned: `hf:owner/name@<commit>`, `s3://bucket/prefix@<digest>`. Absent: from nowhere. */
    address: z.string().optional(),
    architecture: z.string(),
    configSha256: Sha256Schema,
    files: z.array(FileSchema),
  }),
  /** The spec with its defaults filled in; without what names places or changes no byte (`model`, `output`, `overwrite`, `concurrency`, `solveParts`). */
  spec: QuantizationSpecSchema.omit({
    model: true,
    output: true,
    overwrite: true,
    concurrency: true,
    solveParts: true,
  }),
  /** Every linear of the model by module name, with the recipe that overrides have been applied to. */
  linears: z.record(z.string(), LinearSchema),
  /** null: no linear needed calibration. */
  calibration: z
    .strictObject({
      sourceSha256: Sha256Schema,
      /** Of the token ids as little-endian int32. */
      tokensSha256: Sha256Schema,
      samples: z.int(),
      sequenceLength: z.int(),
      seed: z.int(),
    })
    .nullable(),
  /** The importance matrix that took its place, by its name and content. Absent: none did. */
  importance: z
    .strictObject({
      file: z.string(),
      sha256: Sha256Schema,
      datasets: z.array(z.string()).readonly(),
      chunks: z.int(),
      entries: z.int(),
    })
    .optional(),
  blocks: z.array(BlockSchema),
  bitsPerWeight: z.number(),
  perplexity: z
    .strictObject({
      original: z.number().nullable(),
      quantized: z.number(),
      textSha256: Sha256Schema,
      /** Tokens per window. */
      context: z.int(),
      scoredTokens: z.int(),
    })
    .nullable(),
  /** What computed: node, onnxruntime, kernels ... */
  versions: z.record(z.string(), z.string()),
  /** Every file of the directory but this one. */
  files: z.array(FileSchema),
  /** What differs from run to run. */
  run: z.strictObject({
    /** Id of the workflow; null: run without Temporal. */
    job: z.string().nullable(),
    /** ISO 8601. */
    started: z.string(),
    seconds: z.number(),
    computed: z.int(),
    cached: z.int(),
    blocks: z.array(
      z.strictObject({
        index: z.int(),
        seconds: z.record(z.string(), z.number()),
        computed: z.int(),
        cached: z.int(),
      }),
    ),
  }),
});
export type Manifest = z.infer<typeof ManifestSchema>;

/** The text of `quantloom.json`: keys in the schema's order, so that the same manifest is the same bytes. */
export function serializeManifest(manifest: Manifest): string {
  return `${JSON.stringify(ManifestSchema.parse(manifest), null, 2)}\n`;
}

/** @throws QuantloomError InvalidCheckpoint naming the bad fields, or the version of the manifest when it is another one. */
export function parseManifest(text: string): Manifest {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (cause) {
    throw new QuantloomError('InvalidCheckpoint', `${MANIFEST_FILE} is not JSON: ${(cause as Error).message}`, {
      cause,
    });
  }
  const version = (json as { manifestVersion?: unknown } | null)?.manifestVersion;
  if (version !== MANIFEST_VERSION) {
    throw new QuantloomError(
      'InvalidCheckpoint',
      `${MANIFEST_FILE} has manifestVersion ${JSON.stringify(version)}; this program reads ${MANIFEST_VERSION}.`,
    );
  }
  const parsed = ManifestSchema.safeParse(json);
  if (parsed.success) return parsed.data;
  const faults = parsed.error.issues.map((issue) => `${issue.path.join('.')}: ${issue.message}`);
  throw new QuantloomError('InvalidCheckpoint', `${MANIFEST_FILE}: ${faults.slice(0, 5).join('; ')}`);
}
