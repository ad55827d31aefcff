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
  type TensorProto,
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
const OPSET = 23n;
const IR_VERSION = 11n;

/** A `bigint` becomes an INT attribute, a `number` a FLOAT, a `string` a STRING, a list of bigints INTS. */
export type GraphAttribute = bigint | number | string | readonly bigint[];

/** A dimension: a size, or the name of one that is known when the graph runs. */
export type Dimension = number | string;

/**
 * Writes a small ONNX graph node by node. Values are referred to by name; every method that makes one returns its name.
 * Format: onnx.proto of ONNX 1.20.
 */
export class GraphBuilder {
  readonly #nodes: NodeProto[] = [];
  readonly #inputs: ValueInfoProto[] = [];
  readonly #outputs: ValueInfoProto[] = [];
  readonly #constants: TensorProto[] = [];

  constructor(private readonly name: string) {}

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

  /** Declares that the value `source` leaves the graph under `name`. */
  output(name: string, source: string, shape: readonly Dimension[]): void {
    this.#outputs.push(valueInfo(name, shape, 'float'));
    this.#append('Identity', [source], {}, [name]);
  }

  /** A list of integers (a shape, axes) that is part of the graph. */
  integers(values: readonly number[]): string {
    const name = `integers_${this.#constants.length}`;
    const int64Data = values.map(BigInt);
    this.#constants.push(
      create(TensorProtoSchema, {
        name,
        dataType: TensorProto_DataType.INT64,
        dims: [BigInt(values.length)],
        int64Data,
      }),
    );
    return name;
  }

  /** Appends a node with one output. An empty string leaves an optional input out. */
  node(operator: string, inputs: readonly string[], attributes: Readonly<Record<string, GraphAttribute>> = {}): string {
    return this.nodes(operator, inputs, attributes, 1)[0] as string;
  }

  /** Appends a node with several outputs. */
  nodes(
    operator: string,
    inputs: readonly string[],
    attributes: Readonly<Record<string, GraphAttribute>>,
    outputs: number,
  ): readonly string[] {
    const names = Array.from({ length: outputs }, (_, i) => `${operator}_${this.#nodes.length}_${i}`);
    this.#append(operator, inputs, attributes, names);
    return names;
  }

  /** @returns the serialized ModelProto of what leads to an output; other nodes and inputs are left out. */
  build(): Uint8Array {
    const needed = new Set(this.#outputs.map(({ name }) => name));
    const nodes: NodeProto[] = [];
    for (const node of [...this.#nodes].reverse()) {
      if (!node.output.some((name) => needed.has(name))) continue;
      nodes.unshift(node);
      node.input.forEach((name) => {
        needed.add(name);
      });
    }
    const model = create(ModelProtoSchema, {
      irVersion: IR_VERSION,
      producerName: 'quantloom',
      opsetImport: [create(OperatorSetIdProtoSchema, { domain: '', version: OPSET })],
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
    opType: string,
    inputs: readonly string[],
    attributes: Readonly<Record<string, GraphAttribute>>,
    outputs: readonly string[],
  ): void {
    const attribute = Object.entries(attributes).map(([name, value]) => attributeOf(name, value));
    this.#nodes.push(
      create(NodeProtoSchema, { opType, name: outputs[0], input: [...inputs], output: [...outputs], attribute }),
    );
  }
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
