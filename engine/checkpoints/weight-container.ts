import type { DType, ModelPlan, Tensor } from '../spec';
import type { CheckpointContext } from './format';
import type { LinearDescription, LinearStorage } from './linear-storage';
import type { OutputFile } from './output-file';
import type { CheckRecord } from './verification/check';
import type { StoredTensors } from './verification/stored-tensors';

/** How the linears of a checkpoint are stored. */
export interface StoredLinears extends LinearDescription {
  readonly storage: LinearStorage;
  /** Variant of the format. */
  readonly layout: string;
}

/** A finished block, or what no block owns: a complete safetensors file that is kept elsewhere. */
export interface StoredShard {
  /** Puts it at this path, verified. @throws QuantloomError. */
  exportTo(path: string): Promise<Pick<OutputFile, 'bytes' | 'sha256'>>;
}

/** What the weight files of a checkpoint are made from. */
export interface Assembly {
  /** Exists; the files are put here. */
  readonly directory: string;
  /** One per block of the plan, in its order, then one with what no block owns. */
  readonly shards: readonly StoredShard[];
  readonly plan: ModelPlan;
  readonly context: CheckpointContext;
  readonly signal?: AbortSignal;
}

/** The weights of a checkpoint as they lie in its files, under the names of the source. */
export interface StoredModel {
  /** config.json, or what takes its place. */
  readonly config: Readonly<Record<string, unknown>>;
  /** What the files say of the linears; undefined: config.json says it, or nobody. */
  readonly linears?: StoredLinears;
  readonly tensors: ReadonlyMap<string, { readonly dtype: DType; readonly shape: readonly number[] }>;
  /** Bytes of the weight files. */
  readonly weightBytes: number;
  /** A tensor of `tensors`. @throws QuantloomError. */
  read(name: string): Promise<Tensor>;
}

/** The same for verification, by code of its own. */
export interface InspectedModel {
  /** What was compared of headers, and what is wrong. */
  readonly check: CheckRecord;
  readonly stored: StoredTensors & { close(): Promise<void> };
}

/**
 * The files that hold the weights of a checkpoint: how they are made of the shards that blocks were packed into, and how they are read.
 *
 * A block is packed once, when it is finished, into a safetensors file; what is done at the end is putting these together.
 */
export interface WeightContainer {
  /** Whether a file of this name holds weights. */
  holdsWeights(file: string): boolean;

  /** Whether the files are the shards, byte for byte. Values that were verified in a shard need no second look then. */
  readonly filesAreShards: boolean;

  /**
   * Writes the weight files, and what goes with them (an index). Nothing is packed; memory is bounded by one tensor.
   *
   * @throws QuantloomError UnsupportedInput, OutputUnwritable; what `exportTo` throws.
   */
  assemble(assembly: Assembly): Promise<OutputFile[]>;

  /** Reads headers, no weights. @param path a directory, or a weight file. @throws QuantloomError. */
  open(path: string): Promise<StoredModel>;

  /** What the weight files hold beside weights, as the files that a directory of safetensors has: a tokenizer. Absent: nothing. @throws QuantloomError. */
  companions?(path: string): Promise<ReadonlyMap<string, string>>;

  /** By code that is shared neither with `assemble` nor with `open`. What is wrong is found in `check`. */
  inspect(path: string): Promise<InspectedModel>;
}
