/** A constant whose bytes lie in another file. */
export interface RawConstant {
  /** TensorProto.DataType. */
  readonly type: number;
  readonly dims: readonly number[];
  readonly location: string;
  readonly offset: number;
  readonly length: number;
}

export interface RawNode {
  readonly operator: string;
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  /** Whole numbers by name. */
  readonly integers: ReadonlyMap<string, number>;
}

export interface RawGraph {
  readonly nodes: readonly RawNode[];
  readonly constants: ReadonlyMap<string, RawConstant>;
  /** Lists of whole numbers that are part of the graph. */
  readonly lists: ReadonlyMap<string, readonly number[]>;
}

/** A field of a message: a number, or bytes. */
interface Field {
  readonly number: number;
  readonly integer: number;
  readonly bytes: Buffer;
}

const EXTERNAL = 1;

/**
 * What verification needs of an ONNX model, read from protobuf's encoding by the numbers of onnx.proto and without the library that wrote it.
 *
 * @throws Error saying where the encoding breaks.
 */
export function readRawGraph(model: Buffer): RawGraph {
  const graph = all(model, 7)[0];
  if (!graph) throw new Error('the model has no graph');
  const constants = new Map<string, RawConstant>();
  const lists = new Map<string, readonly number[]>();
  for (const tensor of all(graph, 5)) {
    const name = text(tensor, 8);
    if (integer(tensor, 14) !== EXTERNAL) {
      lists.set(name, integers(tensor, 7));
      continue;
    }
    if (constants.has(name)) throw new Error(`${name} stands there twice`);
    const entries = new Map(all(tensor, 13).map((entry) => [text(entry, 1), text(entry, 2)]));
    constants.set(name, {
      type: integer(tensor, 2),
      dims: integers(tensor, 1),
      location: entries.get('location') ?? '',
      offset: Number(entries.get('offset')),
      length: Number(entries.get('length')),
    });
  }
  return { nodes: all(graph, 1).map(nodeOf), constants, lists };
}

function nodeOf(node: Buffer): RawNode {
  return {
    operator: text(node, 4),
    inputs: all(node, 1).map(String),
    outputs: all(node, 2).map(String),
    integers: new Map(all(node, 5).map((attribute) => [text(attribute, 1), integer(attribute, 3)])),
  };
}

function all(message: Buffer, number: number): Buffer[] {
  return fields(message, number).map(({ bytes }) => bytes);
}

function text(message: Buffer, number: number): string {
  return String(all(message, number).at(-1) ?? '');
}

function integer(message: Buffer, number: number): number {
  return fields(message, number).at(-1)?.integer ?? 0;
}

/** Packed, or each a field of its own. */
function integers(message: Buffer, number: number): number[] {
  return fields(message, number).flatMap(({ integer: single, bytes }) => {
    if (bytes.length === 0) return [single];
    const values: number[] = [];
    let at = 0;
    while (at < bytes.length) {
      const [value, end] = varint(bytes, at);
      values.push(value);
      at = end;
    }
    return values;
  });
}

function fields(message: Buffer, wanted: number): Field[] {
  const found: Field[] = [];
  let at = 0;
  while (at < message.length) {
    const [key, start] = varint(message, at);
    const kind = key % 8;
    let field: Field = { number: Math.floor(key / 8), integer: 0, bytes: message.subarray(0, 0) };
    if (kind === 0) {
      const [value, end] = varint(message, start);
      field = { ...field, integer: value };
      at = end;
    } else if (kind === 2) {
      const [length, begin] = varint(message, start);
      at = begin + length;
      field = { ...field, bytes: message.subarray(begin, at) };
    } else if (kind === 1 || kind === 5) {
      at = start + (kind === 1 ? 8 : 4);
    } else {
      throw new Error(`byte ${at} of a message has the wire type ${kind}`);
    }
    if (at > message.length) throw new Error(`a message of ${message.length} bytes goes on to byte ${at}`);
    if (field.number === wanted) found.push(field);
  }
  return found;
}

/** Of numbers that are not negative; what does not fit into 53 bits is a negative one, and comes out as NaN. */
function varint(bytes: Buffer, begin: number): [value: number, end: number] {
  let value = 0;
  for (let at = begin, scale = 1; at < bytes.length; at++, scale *= 128) {
    const byte = bytes[at] as number;
    value += (byte % 128) * scale;
    if (byte < 128) return [value <= Number.MAX_SAFE_INTEGER ? value : Number.NaN, at + 1];
  }
  throw new Error(`a number at byte ${begin} does not end`);
}
