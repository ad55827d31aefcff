import type { DType } from '../spec';

/** The shape of a model, read from its config.json by its architecture. Dimensions in elements. */
export interface ModelShape {
  readonly layers: number;
  readonly hiddenSize: number;
  readonly intermediateSize: number;
  readonly heads: number;
  readonly keyValueHeads: number;
  readonly headSize: number;
  readonly vocabularySize: number;
  readonly maxPositions: number;
  readonly normEpsilon: number;
  /** null: positions are not turned in, but learned and added to the embedding. */
  readonly rotary: RotaryScaling | null;
  /** By layer, where not all of them attend to every token before with `rotary`. */
  readonly attention?: readonly LayerAttention[];
  /** What products of queries and keys are multiplied by. Absent: 1 / sqrt(headSize). */
  readonly scoreScale?: number;
  /** Scores of attention become cap · tanh(score / cap). */
  readonly scoreCap?: number;
  /** Logits become cap · tanh(logit / cap). */
  readonly logitCap?: number;
  /** What rows of the embedding are multiplied by. Absent: 1. */
  readonly embeddingScale?: number;
  /** Rows of the learned positions in front of that of a sequence's first token. Absent: 0. */
  readonly positionOffset?: number;
  /** Gains of norms are what the files hold and this. Absent: 0. */
  readonly gainOffset?: number;
  /** Of layers whose feed-forward part is a choice of experts. Absent: there are none. */
  readonly experts?: ExpertShape;
  readonly tiedHead: boolean;
  /** Sequences must not be longer: what the model does with more is not computed here. Absent: any length. */
  readonly sequenceLimit?: SequenceLimit;
}

/** A mixture of experts (Shazeer et al. 2017, arXiv 1701.06538): a router chooses a few gated feed-forward parts for every token. */
export interface ExpertShape {
  readonly count: number;
  /** Experts that a token passes. */
  readonly perToken: number;
  /** Of one expert. */
  readonly intermediateSize: number;
  /** Of the expert that every token passes beside them; 0: there is none. */
  readonly sharedIntermediateSize: number;
  /** Whether the weights of a token's experts are divided by their sum; else they are what the router's softmax over all experts says. */
  readonly normalized: boolean;
  /** By layer: whether it has experts. The others are dense. */
  readonly layers: readonly boolean[];
}

export interface SequenceLimit {
  readonly tokens: number;
  /** The field of config.json that says so: `sliding_window`, `n_positions`. */
  readonly field: string;
}

/** How a layer attends. */
export interface LayerAttention {
  /** Tokens that a query sees, its own among them; null: all before it. */
  readonly window: number | null;
  readonly rotary: RotaryScaling | null;
}

export interface RotaryScaling {
  readonly theta: number;
  /** Llama 3's piecewise scaling of the inverse frequencies; null: none. */
  readonly llama3: {
    readonly factor: number;
    readonly lowFrequencyFactor: number;
    readonly highFrequencyFactor: number;
    readonly originalMaxPositions: number;
  } | null;
  /** All inverse frequencies are divided by it (Chen et al. 2023, arXiv 2306.15595, eq. 3). Absent: 1. */
  readonly linear?: number;
  /** Each inverse frequency is divided by its own (LongRoPE, arXiv 2402.13753). Absent: by 1. */
  readonly factors?: readonly number[];
  /** Cosines and sines are multiplied by it. Absent: 1. */
  readonly amplitude?: number;
  /** The first features of a head that are turned; the others stay. Absent: all. */
  readonly rotated?: number;
}

/** What a linear does in its layer: `qkv` is q, k and v in one matrix, their rows one after the other; `gate-up` is gate and up. */
export type LinearRole = 'q' | 'k' | 'v' | 'qkv' | 'o' | 'gate' | 'up' | 'gate-up' | 'down' | 'head';

/** A weight that is a matrix product in the forward pass: `y = x Wᵀ + b`, W `[rows, columns]`. */
export interface LinearShape {
  /** Module name, e.g. `model.layers.0.self_attn.q_proj`. */
  readonly name: string;
  readonly role: LinearRole;
  /** Of a linear of an expert: which. Its input are the tokens that are routed to it. Absent in a layer with experts: the shared expert's. */
  readonly expert?: number;
  /** The source holds Wᵀ, `[columns, rows]` (Conv1D of transformers). Absent: W. */
  readonly transposed?: true;
  readonly rows: number;
  readonly columns: number;
  readonly bias: boolean;
  /** Of a quantized model: what runtimes round its input to. Absent: it stays as it is. */
  readonly inputs?: InputRounding;
}

/** Numbers that an input is rounded to, by the largest magnitude of each token, or of each group of its features, or with a scale that is known. */
export interface InputRounding {
  readonly type: 'int8' | 'fp8' | 'mxfp4' | 'nvfp4';
  /** -1: all features of a token. */
  readonly groupSize: number;
  /** The last part of the name of the tensor that holds a number for all tokens: their scale, or with nvfp4 what scales of groups are divided by. Absent: scales follow from magnitudes. */
  readonly scale?: string;
}

/**
 * One step of a block's forward pass (see docs/architecture.md). It applies what was quantized just before and captures the
 * input of the linears that are quantized next.
 */
export interface Stage {
  /** `attention-input`, `attention`, `mlp-input`, `mlp`, `head-input`; `experts-input` and `experts` for `mlp-input` and `mlp` in a layer with experts. */
  readonly name: string;
  /** Activations it needs, e.g. `hidden`, `context`, `product`. Shape `[batch, sequence, features]`. */
  readonly reads: readonly string[];
  /** Activations that are kept for later stages. What is not listed is dropped. */
  readonly leaves: readonly string[];
  /** Those of `leaves` that this stage computes; the others are passed on as they came. */
  readonly changes: readonly string[];
  /** Linears applied in this stage; the first stage of a layer applies the last linear of the layer before. */
  readonly applies: readonly LinearShape[];
  /**
   * Other tensors it needs, by role: `norm`, `norm.bias`, where queries and keys are normed, `q-norm` and `k-norm`, and where what the branch before
   * adds is normed, `branch-norm`. Of a layer with experts `router` `[experts, hiddenSize]`, and `shared-router` `[1, hiddenSize]`, whose sigmoid
   * weighs the shared expert. Routers are never quantized.
   */
  readonly parameters: Readonly<Record<string, string>>;
  /** Of the stage that attends, where layers differ. Absent: to every token before, with the shape's rotary positions. */
  readonly attention?: LayerAttention;
  /** Every token counts for every expert in what is captured. Absent: those that are routed to it. */
  readonly allExperts?: true;
  /** Linears whose common input is captured: each expert's own tokens, see `capturedInputs`. */
  readonly captures: readonly LinearShape[];
}

/** A decoder layer, or the head as a block of its own with the one stage `head-input`. */
export interface Block {
  readonly name: string;
  readonly stages: readonly Stage[];
  /** Tensors of the source that belong to this block, with their expected shapes. */
  readonly tensors: ReadonlyMap<string, readonly number[]>;
}

/** An orthogonal basis that an axis is turned into, block after block where the axis is longer. */
export interface Basis {
  readonly size: number;
  readonly seed: number;
}

/** How a tensor changes when the model is rotated (engine/rotation). What has no entry stays as it is. */
export interface TensorRotation {
  /** The norm whose gain moves into this weight's columns. */
  readonly gain?: string;
  /** Basis of the input features. */
  readonly columns?: Basis;
  /** Basis of the output features. */
  readonly rows?: Basis;
  /** A gain that has moved elsewhere. */
  readonly ones?: true;
}

/** Root mean square norm, or layer norm with a bias. */
export type NormKind = 'rms-norm' | 'layer-norm';

/**
 * What a stage computes (engine/graphs/stage-bodies.ts):
 * - `add-norm`: hidden + the last linear of the branch before, normed where the architecture does so; captures its norm;
 * - `attention`: causal attention over the normed hidden state; captures the context;
 * - `gated-silu`: SiLU(gate(x)) · up(x) of the normed hidden state; `gated-gelu-tanh`: GELU(gate(x)) · up(x); `gelu-tanh`: GELU(up(x));
 *   `relu`: max(0, up(x)). Captures the product;
 * - `add-norm-route`: `add-norm`, and the router's choice of experts for every token; `experts`: SiLU(gate(x)) · up(x) of each token's experts.
 *   Both capture what reaches every expert.
 */
export type StageOperator =
  | 'add-norm'
  | 'add-norm-route'
  | 'experts'
  | 'attention'
  | 'gated-silu'
  | 'gated-gelu-tanh'
  | 'gelu-tanh'
  | 'relu';

/** An entry of the registry: the names of an architecture's tensors, and its stages. `decoderArchitecture` makes one from a table. */
export interface Architecture {
  /** `llama`. */
  readonly name: string;
  /** The class in transformers, `LlamaForCausalLM`. */
  readonly modelClass: string;
  /** By `architectures[0]` or `model_type` of config.json. */
  accepts(config: Readonly<Record<string, unknown>>): boolean;
  /** The same architecture with the names that the files use, where there are several conventions. */
  named(has: (tensor: string) => boolean): Architecture;
  /** What transformers calls the tensor that the files call so. */
  publishedName(tensor: string): string;
  /** @throws QuantloomError InvalidModel naming the field, UnsupportedArchitecture naming the feature (e.g. another rope type). */
  shape(config: Readonly<Record<string, unknown>>): ModelShape;
  /** `model.embed_tokens.weight`. */
  readonly embedding: string;
  /** Learned positions `[positionOffset + maxPositions, hiddenSize]`, which are added to the embedding; null: none. */
  readonly positions: string | null;
  /** `model.norm.weight`. */
  readonly finalNorm: string;
  /** `lm_head.weight`; absent from files when the head is tied to the embedding. */
  readonly head: string;
  /** Of all norms of the hidden state. */
  readonly norm: NormKind;
  /** By the name of a stage. */
  readonly operators: Readonly<Record<string, StageOperator>>;
  /** Tensors that belong to no block, with their expected shapes: embeddings and final norm. */
  outside(shape: ModelShape): ReadonlyMap<string, readonly number[]>;
  /**
   * Decoder layers in order, then the head as the last block.
   * `has` tells which optional tensors (biases) the source holds.
   */
  blocks(shape: ModelShape, has: (tensor: string) => boolean): readonly Block[];
  /**
   * By tensor: how the model is rotated. A head that is tied to the embedding becomes a tensor of its own: it takes the final norm's gain.
   * null: a rotation would change what the model computes.
   */
  rotations(shape: ModelShape, has: (tensor: string) => boolean): ReadonlyMap<string, TensorRotation> | null;
  /** Names of tensors that everyone computes anew (masks); they are left behind. null: there are none. */
  readonly buffers: RegExp | null;
  /** Source dtypes that it can be computed from. */
  readonly dtypes: readonly DType[];
}
