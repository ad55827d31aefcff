import { create, toBinary } from '@bufbuild/protobuf';
import {
  type AttributeProto,
  AttributeProto_AttributeType,
  AttributeProtoSchema,
  GraphProtoSchema,
  ModelProtoSchema,
  type NodeProto,
  NodeProtoSchema,
  OperatorSetIdProtoSchema,
  StringStringEntryProtoSchema,
  type TensorProto,
  TensorProto_DataLocation,
  TensorProto_DataType,
  TensorProtoSchema,
  TensorShapeProto_DimensionSchema,
  TensorShapeProtoSchema,
  TypeProto_TensorSchema,
  TypeProtoSchema,
  type ValueInfoProto,
  ValueInfoProtoSchema,
} from 'onnx-buf';

/** RMSNormalization, RotaryEmbedding and Attention are standard operators since this version. */
const OPSET = 23;
const IR_VERSION = 11;

/** A `bigint` becomes an INT attribute, a `number` a FLOAT, a `string` a STRING, a list of bigints INTS. */
export type GraphAttribute = bigint | number | string | readonly bigint[];

/** A dimension: a size, or the name of one that is known when the graph runs. */
export type Dimension = number | string;

export interface GraphBuilderOptions {
  /** Version of the standard operators. Default 23. */
  readonly opset?: number;
  /** Version of the file format. Default 11. */
  readonly irVersion?: number;
}

/** Element types of constants that lie in another file. */
export const STORED_TYPES = {
  F32: TensorProto_DataType.FLOAT,
  F16: TensorProto_DataType.FLOAT16,
  BF16: TensorProto_DataType.BFLOAT16,
  U8: TensorProto_DataType.UINT8,
} as const;

/** Where the bytes of a constant are: a file beside the model's. */
export interface ExternalBytes {
  readonly file: string;
  readonly offset: number;
  readonly length: number;
}

/**
 * Writes a small ONNX graph node by node. Values are referred to by name; every method that makes one returns its name.
 * Format: onnx.proto of ONNX 1.20.
 */
export class GraphBuilder {
  readonly #nodes: NodeProto[] = [];
  readonly #inputs: ValueInfoProto[] = [];
  readonly #outputs: ValueInfoProto[] = [];
  readonly #constants: TensorProto[] = [];
  readonly #opset: number;
  readonly #irVersion: number;

  constructor(
    private readonly name: string,
    { opset = OPSET, irVersion = IR_VERSION }: GraphBuilderOptions = {},
  ) {
    this.#opset = opset;
    this.#irVersion = irVersion;
  }

  /** Declares a graph input. */
  input(name: string, shape: readonly Dimension[], type: 'float' | 'int64' = 'float'): string {
    this.#inputs.push(valueInfo(name, shape, type));
    return name;
  }

  /** Rounds to bfloat16, ties to even, and back. */
  rounded(x: string): string {
    const short = this.node('Cast', [x], { to: BigInt(TensorProto_DataType.BFLOAT16) });
    return this.node('Cast', [short], { to: BigInt(TensorProto_DataType.FLOAT) });
  }

  /** Rounds to F8_E4M3, ties to even, and back. Magnitudes are at most 448. */
  float8(x: string): string {
    const short = this.node('Cast', [x], { to: BigInt(TensorProto_DataType.FLOAT8E4M3FN) });
    return this.node('Cast', [short], { to: BigInt(TensorProto_DataType.FLOAT) });
  }

  /** Rounds to E2M1, ties to even, and back. Magnitudes are at most 6. Steps are 0.5 below 2, 1 below 4, then 2. */
  float4(x: string): string {
    const magnitude = this.node('Abs', [x]);
    const below = (limit: number) => this.node('Less', [magnitude, this.scalar(limit)]);
    const inSteps = (step: number) => {
      const steps = this.node('Round', [this.node('Div', [magnitude, this.scalar(step)])]);
      return this.node('Mul', [steps, this.scalar(step)]);
    };
    const upper = this.node('Where', [below(4), inSteps(1), inSteps(2)]);
    return this.node('Mul', [this.node('Where', [below(2), inSteps(0.5), upper]), this.node('Sign', [x])]);
  }

  /** Declares that the value `source` leaves the graph under `name`. */
  output(name: string, source: string, shape: readonly Dimension[]): void {
    this.#outputs.push(valueInfo(name, shape, 'float'));
    if (source !== name) this.#append('Identity', [source], {}, [name]);
  }

  /** A constant whose bytes lie in another file. */
  external(
    name: string,
    type: keyof typeof STORED_TYPES,
    shape: readonly number[],
    { file, offset, length }: ExternalBytes,
  ): string {
    const entries = Object.entries({ location: file, offset: String(offset), length: String(length) });
    this.#constants.push(
      create(TensorProtoSchema, {
        name,
        dataType: STORED_TYPES[type],
        dims: shape.map(BigInt),
        dataLocation: TensorProto_DataLocation.EXTERNAL,
        externalData: entries.map(([key, value]) => create(StringStringEntryProtoSchema, { key, value })),
      }),
    );
    return name;
  }

  /** A number that is part of the graph. */
  scalar(value: number): string {
    const name = `scalar_${this.#constants.length}`;
    this.#constants.push(
      create(TensorProtoSchema, { name, dataType: TensorProto_DataType.FLOAT, dims: [], floatData: [value] }),
    );
    return name;
  }

  /** Converts to another element type. */
  cast(x: string, type: 'float' | 'int32' | 'int64'): string {
    const types = {
      float: TensorProto_DataType.FLOAT,
      int32: TensorProto_DataType.INT32,
      int64: TensorProto_DataType.INT64,
    };
    return this.node('Cast', [x], { to: BigInt(types[type]) });
  }

  /** A list of integers (a shape, axes) that is part of the graph; a single one, without a list, is a scalar. */
  integers(values: readonly number[] | number): string {
    const name = `integers_${this.#constants.length}`;
    const list = typeof values === 'number' ? [values] : values;
    this.#constants.push(
      create(TensorProtoSchema, {
        name,
        dataType: TensorProto_DataType.INT64,
        dims: typeof values === 'number' ? [] : [BigInt(values.length)],
        int64Data: list.map(BigInt),
      }),
    );
    return name;
  }

  /**
   * Appends a node with one output. An empty string leaves an optional input out. An operator that is not standard has its domain before
   * its name: `com.microsoft.MatMulNBits`.
   */
  node(operator: string, inputs: readonly string[], attributes: Readonly<Record<string, GraphAttribute>> = {}): string {
    return this.nodes(operator, inputs, attributes, 1)[0] as string;
  }

  /** Appends a node with several outputs: how many, or what they are called. An empty string leaves an optional output out. */
  nodes(
    operator: string,
    inputs: readonly string[],
    attributes: Readonly<Record<string, GraphAttribute>>,
    outputs: number | readonly string[],
  ): readonly string[] {
    const names =
      typeof outputs === 'number'
        ? Array.from({ length: outputs }, (_, i) => `${splitOperator(operator).opType}_${this.#nodes.length}_${i}`)
        : outputs;
    this.#append(operator, inputs, attributes, names);
    return names;
  }

  /** @returns the serialized ModelProto of what leads to an output; other nodes and inputs are left out. */
  build(): Uint8Array {
    const needed = new Set(this.#outputs.map(({ name }) => name));
    const nodes: NodeProto[] = [];
    for (const node of [...this.#nodes].reverse()) {
      if (!node.output.some((name) => needed.has(name))) continue;
      nodes.push(node);
      for (const name of node.input) if (name !== '') needed.add(name);
    }
    nodes.reverse();
    const domains = [...new Set(nodes.map(({ domain }) => domain))].filter((domain) => domain !== '');
    const model = create(ModelProtoSchema, {
      irVersion: BigInt(this.#irVersion),
      producerName: 'quantloom',
      opsetImport: [
        create(OperatorSetIdProtoSchema, { domain: '', version: BigInt(this.#opset) }),
        ...domains.map((domain) => create(OperatorSetIdProtoSchema, { domain, version: 1n })),
      ],
      graph: create(GraphProtoSchema, {
        name: this.name,
        node: nodes,
        input: this.#inputs.filter(({ name }) => needed.has(name)),
        output: this.#outputs,
        initializer: this.#constants.filter(({ name }) => needed.has(name)),
      }),
    });
    return toBinary(ModelProtoSchema, model);
  }

  #append(
    operator: string,
    inputs: readonly string[],
    attributes: Readonly<Record<string, GraphAttribute>>,
    outputs: readonly string[],
  ): void {
    const attribute = Object.entries(attributes).map(([name, value]) => attributeOf(name, value));
    this.#nodes.push(
      create(NodeProtoSchema, {
        ...splitOperator(operator),
        name: outputs[0],
        input: [...inputs],
        output: [...outputs],
        attribute,
      }),
    );
  }
}

function splitOperator(operator: string): { domain?: string; opType: string } {
  const dot = operator.lastIndexOf('.');
  return dot === -1 ? { opType: operator } : { domain: operator.slice(0, dot), opType: operator.slice(dot + 1) };
}

function attributeOf(name: string, value: GraphAttribute): AttributeProto {
  if (typeof value === 'bigint') {
    return create(AttributeProtoSchema, { name, type: AttributeProto_AttributeType.INT, i: value });
  }
  if (typeof value === 'number') {
    return create(AttributeProtoSchema, { name, type: AttributeProto_AttributeType.FLOAT, f: value });
  }
  if (typeof value === 'string') {
    return create(AttributeProtoSchema, { name, type: AttributeProto_AttributeType.STRING, s: Buffer.from(value) });
  }
  return create(AttributeProtoSchema, { name, type: AttributeProto_AttributeType.INTS, ints: [...value] });
}

function valueInfo(name: string, shape: readonly Dimension[], type: 'float' | 'int64'): ValueInfoProto {
  const dim = shape.map((size) =>
    create(TensorShapeProto_DimensionSchema, {
      value: typeof size === 'number' ? { case: 'dimValue', value: BigInt(size) } : { case: 'dimParam', value: size },
    }),
  );
  const elemType = type === 'float' ? TensorProto_DataType.FLOAT : TensorProto_DataType.INT64;
  const tensorType = create(TypeProto_TensorSchema, { elemType, shape: create(TensorShapeProtoSchema, { dim }) });
  return create(ValueInfoProtoSchema, {
    name,
    type: create(TypeProtoSchema, { value: { case: 'tensorType', value: tensorType } }),
  });
}
