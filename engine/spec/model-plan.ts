import type { ArtifactRef } from './artifact-ref';
import type { EmbeddingType } from './embedding-types';
import type { Recipe } from './quantization-spec';
import type { DType } from './tensor';

/** A tensor of the source model: which file, which bytes of it. `sha256` is filled in when the model is fetched. */
export interface SourceTensor {
  readonly name: string;
  /** What the file calls it, where that is another name. */
  readonly storedAs?: string;
  readonly dtype: DType;
  readonly shape: readonly number[];
  /** Path of the file, relative to the model's directory. */
  readonly file: string;
  /** Absolute byte offset in the file. */
  readonly offset: number;
  readonly bytes: number;
  /** Set for a tensor that the files do not hold: it begins as a copy of this one, whose place it names (a head that was tied). */
  readonly copyOf?: string;
}

/** A linear of a block, with the recipe that overrides have been applied to; `recipe: null` keeps it in 16 bit. */
export interface LinearPlan {
  /** Of an expert's linear: which. Absent: every token passes it. */
  readonly expert?: number;
  /** Module name, e.g. `model.layers.0.self_attn.q_proj`. Its weight is `<name>.weight`, its bias `<name>.bias`. */
  readonly name: string;
  /** Output features. */
  readonly rows: number;
  /** Input features. */
  readonly columns: number;
  readonly bias: boolean;
  readonly recipe: Recipe | null;
}

export interface StagePlan {
  /** Name of the stage in its architecture's table. */
  readonly stage: string;
  /** The linears whose input this stage captures: they share one Hessian and are quantized next. */
  readonly linears: readonly LinearPlan[];
}

/** A decoder layer, or the head. */
export interface BlockPlan {
  readonly index: number;
  /** `model.layers.3`, `lm_head`. */
  readonly name: string;
  readonly stages: readonly StagePlan[];
  /** Every tensor of the source that this block owns, sorted by name. */
  readonly tensors: readonly string[];
}

/** Where a model comes from that does not lie as a directory of safetensors with floating-point weights. */
export interface ModelOrigin {
  /** Pinned address, `hf:owner/name@<commit>`, `s3://bucket/prefix@<digest>`: what is there does not change. Absent: it lies on this machine. */
  readonly address?: string;
  /** The checkpoint that is turned into plain weights: a directory or a weight file. Absent: nothing is. */
  readonly dequantized?: string;
}

/** An importance matrix that takes the place of calibration. */
export interface ImportanceSource {
  /** Absolute path of the file. */
  readonly file: string;
  readonly sha256: string;
  /** Names of the texts, as the file has them. */
  readonly datasets: readonly string[];
  /** Sequences, as the file counts them. */
  readonly chunks: number;
  /** Weights that the file speaks of. */
  readonly entries: number;
}

/** All that is known before any work: the result of reading shapes only. Stored as a document; workflows carry its reference. */
export interface ModelPlan {
  readonly architecture: string;
  /** Directory of the model. */
  readonly directory: string;
  /** Set where the directory is made of something else when the job runs. */
  readonly origin?: ModelOrigin;
  /** The model's config.json, as read. */
  readonly config: Readonly<Record<string, unknown>>;
  readonly blocks: readonly BlockPlan[];
  /** Tensors that no block owns and that are kept: embeddings, final norm, a head that stays in 16 bit. */
  readonly remainder: readonly string[];
  readonly tensors: Readonly<Record<string, SourceTensor>>;
  /** Files that are copied next to the weights: tokenizer, generation config, chat template, licence. */
  readonly companions: readonly string[];
  readonly parameters: number;
  readonly sourceBytes: number;
  /** What the embedding is stored in. Absent: what the format says. */
  readonly embedding?: EmbeddingType;
  /** How the embedding is quantized, where it is stored in integers. */
  readonly embeddingRecipe?: Recipe;
  /** Set where a linear's recipe takes its importance from a file. */
  readonly importance?: ImportanceSource;
  readonly slices: readonly { readonly firstSequence: number; readonly sequences: number }[];
}

/** What fetching adds to the plan: the identity of every tensor. Stored as a document. */
export type TensorTable = Readonly<Record<string, ArtifactRef>>;

/** What `quantloom plan` prints. All sizes in bytes. */
export interface PlanEstimate {
  readonly architecture: string;
  readonly parameters: number;
  readonly blocks: number;
  readonly linears: number;
  readonly bitsPerWeight: number;
  readonly bytesToRead: number;
  readonly outputBytes: number;
  readonly storeBytes: number;
  readonly diskFreeBytes: number;
  readonly calibrationTokens: number;
  readonly activitiesPerLayer: number;
  readonly activities: number;
  /** By activity name: peak resident bytes beyond the idle process. */
  readonly peakMemoryBytes: Readonly<Record<string, number>>;
  readonly floatingPointOperations: number;
  /** Every reason why the job would not run; empty when it would. */
  readonly refusals: readonly { readonly code: string; readonly where: string; readonly message: string }[];
  readonly warnings: readonly string[];
}
