import type { GridKind, QuantizedLinear } from '../quantizers/quantized-linear';
import type { ImportanceSource, LinearPlan, ModelPlan, QuantizationSpec, Recipe, Tensor } from '../spec';
import type { LinearStorage } from './linear-storage';
import type { Manifest } from './manifest';
import type { RecordedLinear } from './recorded-linears';
import type { WeightContainer } from './weight-container';
import type { WeightForm } from './weight-form';

export type FormatName = QuantizationSpec['formats'][number];

/** How a tensor is stored that is kept. */
export interface KeptTensor {
  /** A type of the format. */
  readonly as: string;
  /** Of the file. */
  readonly bitsPerWeight: number;
  /** How it is quantized, where that does not follow from the type. */
  readonly recipe?: Recipe;
}

/** By name. */
export type KeptStorage = Readonly<Record<string, KeptTensor>>;

/** What of a plan says how kept tensors are stored. */
export type PlanOfKept = Pick<
  ModelPlan,
  'architecture' | 'config' | 'blocks' | 'tensors' | 'remainder' | 'embedding' | 'embeddingRecipe'
>;

/** What the configuration of a checkpoint is written from. */
export interface CheckpointContext {
  /** config.json of the source model. */
  readonly sourceConfig: Readonly<Record<string, unknown>>;
  /** The linears of the plan; a head that is kept is not among them. What is kept in 16 bit has `recipe: null`. */
  readonly linears: readonly LinearPlan[];
  /** What `layout` gave when the layers were packed, before the operator skipped any. */
  readonly layout: string;
  readonly order: QuantizationSpec['order'];
  /** null: nothing was calibrated; absent: not known. */
  readonly calibration?: { readonly source: string; readonly sequences: number } | null;
  /** Where importance was read from a file; its `file` is a name. */
  readonly importance?: ImportanceSource;
  /** Version of Quantloom, e.g. `0.1.0`. */
  readonly version: string;
  /** What the container wrote, relative to the directory. Absent before it has. */
  readonly weightFiles?: readonly string[];
}

/** An entry of the registry: a way to lay a quantized model out on disk. Adding one touches one folder. */
export interface CheckpointFormat {
  readonly name: FormatName;

  /** How its linears lie in the files: what reads and verifies them. */
  readonly storage: LinearStorage;

  /** The files that hold the weights. */
  readonly container: WeightContainer;

  /** The kinds of grids that it can write. */
  readonly grids: readonly GridKind[];

  /** Runtimes that load it keep linears apart which share an input. Absent: some (vLLM, SGLang) load them as one matrix, and need them alike. */
  readonly keptApart?: true;

  /** Its configuration says what the inputs of linears are quantized to. Absent: it holds weights alone. */
  readonly quantizesActivations?: true;

  /** The smallest zero point that the format can store; quantizers keep to it when they are asymmetric. */
  readonly smallestZero: 0 | 1;

  /**
   * Why this linear cannot be written, and what to do; null when it can (or is kept in 16 bit).
   *
   * @param linear on one of the format's grids
   */
  refuse(linear: LinearPlan): string | null;

  /**
   * The plan with the recipes that the format sets: where it does, it comes alone. Absent: recipes are as the specification says.
   */
  planRecipes?(plan: ModelPlan): ModelPlan;

  /** Of the tensors that are kept, those that `encodeKept` stores in another way than the source does: how, by name. Absent: none. */
  keptStorage?(plan: PlanOfKept): KeptStorage;

  /** Why the embedding cannot be stored as `plan.embedding` says, and what to do; null when it can. Absent: it never can. */
  refuseEmbedding?(plan: PlanOfKept): string | null;

  /** Why these linears, of which each can be written, cannot be in one checkpoint, and what to do; null when they can. Absent: they can. */
  refuseTogether?(linears: readonly LinearPlan[]): string | null;

  /** What is to be known of these linears in this format before it is written; null: nothing. Absent: nothing. */
  warn?(linears: readonly LinearPlan[]): string | null;

  /** Checks what a model needs beside its linears. Absent: nothing. @throws QuantloomError saying what cannot be written, and what to do. */
  requireWritable?(plan: ModelPlan): Promise<void>;

  /**
   * The variant that the whole checkpoint is written in: it follows from all linears together, and every `encodeLinear` of the
   * checkpoint gets the same one.
   */
  layout(linears: readonly LinearPlan[]): string;

  /** What a linear is stored as within this layout, where linears of one checkpoint differ. Absent: all are of the layout. */
  layoutOf?(linear: LinearPlan, layout: string): string;

  /**
   * What a tensor that is not quantized as a linear is stored as, by name. Absent: as the source has it.
   *
   * @param kept what `keptStorage` says of it.
   */
  encodeKept?(name: string, tensor: Tensor, kept?: KeptTensor): Promise<ReadonlyMap<string, Tensor>>;

  /**
   * SHA-256 of the weight that readers get, as `weightSha256`, where it is not to the last bit what the quantizer meant; null: it is.
   * Absent: it always is.
   *
   * @param linear on one of the format's grids
   * @param form as for `encodeLinear`
   */
  storedWeightSha256?(linear: QuantizedLinear, form?: WeightForm): string | null;

  /**
   * The tensors that replace `<name>.weight` in a shard, by name, in the order in which they are written. A bias stays what it was.
   *
   * @param linear on one of the format's grids
   * @param layout of this linear
   * @param form how the source has the weight; for formats whose storage has `floats`. Default float32, not transposed.
   * @throws QuantloomError UnsupportedInput when a value cannot be stored (naming the group, the value and the limit).
   */
  encodeLinear(name: string, linear: QuantizedLinear, layout: string, form?: WeightForm): Map<string, Tensor>;

  /** What verification needs of tensors that `encodeKept` stored in another way, by module. Absent: nothing. */
  recordKept?(storage: KeptStorage): Readonly<Record<string, RecordedLinear>>;

  /** The config.json of the checkpoint. */
  config(context: CheckpointContext): Record<string, unknown>;

  /** Other files by name, as text. */
  files(context: CheckpointContext): Map<string, string>;

  /** Bits of the file per weight of this linear, scales, zero points and indices included; null recipe: those of `sourceBits`. */
  bitsPerWeight(linear: LinearPlan, sourceBits?: number): number;

  /** What the model card says about loading: Markdown that names who can load this checkpoint, how, and who cannot and why. */
  loading(checkpoint: Pick<Manifest, 'linears' | 'layout'>): string;
}
