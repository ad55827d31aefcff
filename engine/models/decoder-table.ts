import type { LinearRole, NormKind, StageOperator } from './architecture';
import type { ShapeTable } from './decoder-shape';

/** An architecture of decoder layers with norms before attention and before the feed-forward part, and maybe behind them, as data. */
export interface DecoderTable {
  /** In the registry, and in plans. */
  readonly name: string;
  /** `architectures[0]` of config.json. */
  readonly modelClass: string;
  /** `model_type`, where config.json names no class. */
  readonly modelType: string;
  /** Module of the embedding. */
  readonly embedding: string;
  /** Module of learned positions; null: rotary positions. */
  readonly positions: string | null;
  /** Layer 3 is `<layers>.3`. */
  readonly layers: string;
  readonly finalNorm: string;
  readonly head: string;
  readonly norm: NormKind;
  readonly attention: BranchTable;
  /** Of dense layers. */
  readonly mlp: BranchTable;
  /** Of layers with experts: in place of the linears of `mlp`. Absent: there are none. */
  readonly experts?: ExpertsTable;
  readonly config: ShapeTable;
  /** Whether rotations of the hidden state leave the function as it is: norms subtract no mean and add nothing. */
  readonly rotatable: boolean;
  /** Tensors that are left behind. */
  readonly buffers?: RegExp;
  /** What modules other than the head begin with in some files and not in others, e.g. `transformer.`. */
  readonly prefix?: string;
}

/** A residual branch: hidden + outputNorm(output(operator(inputs(norm(hidden))))). Modules are named within the layer. */
export interface BranchTable {
  readonly norm: string;
  /** Linears that share the normed hidden state. */
  readonly inputs: readonly LinearEntry[];
  readonly operator: StageOperator;
  /** Norms within the operator, by role. */
  readonly innerNorms?: Readonly<Record<string, string>>;
  readonly output: LinearEntry;
  /** Absent: what the branch adds is not normed. */
  readonly outputNorm?: string;
}

/** Experts of a layer. Every expert has a gate, an up and a down projection. */
export interface ExpertsTable {
  /** Module of the router. */
  readonly router: string;
  /** Expert 3 is `<modules>.3`. */
  readonly modules: string;
  /** Names of the projections within an expert. */
  readonly projections: { readonly gate: string; readonly up: string; readonly down: string };
  /** The expert that every token passes, and the module that weighs it. Absent: there is none. */
  readonly shared?: { readonly module: string; readonly router: string };
}

export interface LinearEntry {
  readonly role: LinearRole;
  readonly module: string;
  /** `stored`: where the files have one. */
  readonly bias: 'always' | 'never' | 'stored';
  /** See LinearShape. */
  readonly transposed?: true;
}
