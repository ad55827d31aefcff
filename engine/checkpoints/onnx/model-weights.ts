import type { ExternalBytes, GraphBuilder } from '../../graphs/graph-builder';
import type { LinearShape } from '../../models/architecture';
import { bytesOf, decodeFloats, encodeFloats, FLOAT16_MAX } from '../../numbers';
import { type FloatTensor, QuantloomError, type Tensor } from '../../spec';
import type { ExternalData } from './external-data';
import { AS_BLOCKS, type NamedTensor, nbitsTensors } from './nbits-tensors';
import type { NBitsWeight } from './nbits-weight';
import type { OnnxSource } from './onnx-source';

export interface ModelWeightsOptions {
  readonly source: OnnxSource;
  readonly builder: GraphBuilder;
  readonly data: ExternalData;
  /** See OnnxExportOptions. */
  readonly accuracyLevel: number;
}

/** `y = f(x)`, as nodes of the graph. */
type Product = (x: string) => string;

/**
 * Moves weights from a checkpoint to the constants of a graph, one at a time. Loading is asynchronous; what was loaded can be used in the
 * graph at once.
 */
export class ModelWeights {
  readonly #options: ModelWeightsOptions;
  readonly #constants = new Map<string, string>();
  readonly #products = new Map<string, Product>();
  /** Of quantized tables: the product with all rows. */
  readonly #tableProducts = new Map<string, () => Product>();
  readonly #ordered = new Map<string, string>();

  constructor(options: ModelWeightsOptions) {
    this.#options = options;
  }

  /** A tensor in float32, whatever it is stored in. */
  constant(name: string): string {
    const constant = this.#constants.get(name);
    if (constant !== undefined) return constant;
    throw new Error(`${name} was not loaded.`);
  }

  /** `x Wᵀ + b` of a module. */
  product(module: string, x: string): string {
    const product = this.#products.get(module);
    if (product) return product(x);
    throw new Error(`${module} was not loaded.`);
  }

  /**
   * Rows of a table in float32, converted or dequantized after they are picked.
   *
   * @param ids their numbers, of any shape; the columns come behind it.
   * @throws QuantloomError InvalidCheckpoint when there is no such table, UnsupportedInput for an element type.
   */
  async rows(table: string, ids: string): Promise<string> {
    const { builder, source } = this.#options;
    const module = table.replace(/\.weight$/, '');
    const linear = await source.linear(module);
    if (linear && !('data' in linear) && !linear.columnOrder) return this.#quantizedRows(module, linear, ids);
    if (linear && 'data' in linear) await this.loadFloats(table, linear.shape, linear.data);
    else await this.#load(table);
    const rows = builder.node('Gather', [table, ids]);
    return this.constant(table) === table ? rows : builder.cast(rows, 'float');
  }

  /** A tensor in its 16 bits or 32, with a conversion where it is used. */
  async #load(name: string): Promise<void> {
    const { builder, source } = this.#options;
    const { dtype, shape, data } = floatTensor(name, await source.stored(name));
    builder.external(name, dtype, shape, await this.#append(data));
    this.#constants.set(name, dtype === 'F32' ? name : builder.cast(name, 'float'));
  }

  /** As GatherBlockQuantized version 1 has them (ContribOperators.md of onnxruntime). A head that is the same matrix multiplies with the same bytes. */
  async #quantizedRows(module: string, linear: NBitsWeight, ids: string): Promise<string> {
    const { builder } = this.#options;
    const { rows, columns, bits, blockSize } = linear;
    const inputs: string[] = [];
    const [first, ...beside] = nbitsTensors(module, linear);
    const [codes, { shape, data }] = first as NamedTensor;
    const bytes = await this.#append(data);
    builder.external(codes, 'U8', [rows, data.length / rows], bytes);
    for (const [name, tensor] of beside) {
      inputs.push(builder.external(name, tensor.dtype, tensor.shape, await this.#append(tensor.data)));
    }
    this.#tableProducts.set(`${module}.weight`, () => {
      const blocks = builder.external(`${codes}${AS_BLOCKS}`, 'U8', shape, bytes);
      return this.#nbitsProduct(linear, [blocks, ...inputs]);
    });
    const attributes = { gather_axis: 0n, quantize_axis: 1n, bits: BigInt(bits), block_size: BigInt(blockSize) };
    const found = builder.node('com.microsoft.GatherBlockQuantized', [codes, ids, ...inputs], attributes);
    if (columns % blockSize === 0) return found;
    const [begin, end, axis] = [0, columns, -1].map((value) => builder.integers([value])) as [string, string, string];
    return builder.node('Slice', [found, begin, end, axis]);
  }

  /**
   * A norm's gain or a bias, and an offset that is added to it: small enough to stand in float32 whatever it was.
   *
   * @throws QuantloomError InvalidCheckpoint when there is none.
   */
  async loadVector(name: string, offset = 0): Promise<void> {
    if (this.#constants.has(name)) return;
    const tensor = await this.#options.source.stored(name);
    const values = decodeFloats(tensor);
    await this.loadFloats(name, tensor.shape, offset === 0 ? values : values.map((value) => value + offset));
  }

  /** Values that are computed here: `[...shape]` in float32. */
  async loadFloats(name: string, shape: readonly number[], values: Float32Array): Promise<string> {
    this.#options.builder.external(name, 'F32', shape, await this.#append(bytesOf(values)));
    this.#constants.set(name, name);
    return name;
  }

  /** A linear, quantized or not, with its bias. `weight`: the tensor of a dense one, where it is not its own (a tied head). */
  async loadLinear(
    { name: module, bias, transposed: isTransposed }: LinearShape,
    weight: string = `${module}.weight`,
  ): Promise<void> {
    const isOwn = weight === `${module}.weight`;
    const linear = isOwn ? await this.#options.source.linear(module) : null;
    const product = linear
      ? await this.#quantizedProduct(module, linear)
      : (this.#tableProducts.get(weight)?.() ?? (await this.#denseProduct(weight, isTransposed === true)));
    if (bias) await this.loadVector(`${module}.bias`);
    this.#products.set(module, (x) => {
      const y = product(x);
      return bias ? this.#options.builder.node('Add', [y, this.constant(`${module}.bias`)]) : y;
    });
  }

  /** `isTransposed`: the file holds Wᵀ. */
  async #denseProduct(weight: string, isTransposed: boolean): Promise<Product> {
    if (!this.#constants.has(weight)) await this.#load(weight);
    const { builder } = this.#options;
    return (x) => {
      const constant = this.constant(weight);
      const factor = isTransposed ? constant : builder.node('Transpose', [constant], { perm: [1n, 0n] });
      return builder.node('MatMul', [x, factor]);
    };
  }

  async #quantizedProduct(module: string, linear: NBitsWeight | FloatTensor): Promise<Product> {
    if ('data' in linear) {
      await this.loadFloats(`${module}.weight`, linear.shape, linear.data);
      return this.#denseProduct(`${module}.weight`, false);
    }
    const inputs: string[] = [];
    for (const [name, { dtype, shape, data }] of nbitsTensors(module, linear)) {
      inputs.push(this.#options.builder.external(name, dtype, shape, await this.#append(data)));
    }
    return this.#nbitsProduct(linear, inputs);
  }

  #nbitsProduct(linear: Omit<NBitsWeight, 'weight' | 'scales'>, inputs: readonly string[]): Product {
    const { builder, accuracyLevel } = this.#options;
    const { rows, columns, bits, blockSize, columnOrder } = linear;
    const attributes = {
      K: BigInt(columns),
      N: BigInt(rows),
      bits: BigInt(bits),
      block_size: BigInt(blockSize),
      accuracy_level: BigInt(accuracyLevel),
    };
    return (x) => builder.node('com.microsoft.MatMulNBits', [this.#inOrder(x, columnOrder), ...inputs], attributes);
  }

  /** Features of x in the order of the columns; linears with the same input and the same order share it. */
  #inOrder(x: string, order: Int32Array | null): string {
    if (!order) return x;
    const key = `${x} ${order.join()}`;
    const { builder } = this.#options;
    const known = this.#ordered.get(key);
    if (known !== undefined) return known;
    const ordered = builder.node('Gather', [x, builder.integers(Array.from(order))], { axis: -1n });
    this.#ordered.set(key, ordered);
    return ordered;
  }

  #append(data: Uint8Array): Promise<ExternalBytes> {
    return this.#options.data.append(data);
  }
}

/**
 * As runtimes everywhere convert it: onnxruntime's build for browsers has no kernel for bfloat16. In float16 its numbers stay what they are down
 * to 2^-17, below they are rounded by at most 2^-25; a tensor with numbers beyond float16 becomes float32.
 */
function floatTensor(name: string, tensor: Tensor): Tensor & { readonly dtype: 'F32' | 'F16' } {
  const { dtype } = tensor;
  if (dtype === 'F32' || dtype === 'F16') return { ...tensor, dtype };
  if (dtype === 'BF16') {
    const values = decodeFloats(tensor);
    const type = values.every((value) => Math.abs(value) <= FLOAT16_MAX) ? 'F16' : 'F32';
    return { ...tensor, dtype: type, data: encodeFloats(values, type) };
  }
  throw new QuantloomError(
    'UnsupportedInput',
    `${name} is stored in ${dtype}; F32, F16 and BF16 can be written to ONNX.`,
    { details: { name, dtype } },
  );
}
