import type { LinearDescription } from '../linear-storage';
import { halfFloat } from '../verification/raw-floats';
import type { RawLinear } from '../verification/raw-linear';
import type { StoredTensors } from '../verification/stored-tensors';
import { RAW_SUPER_BLOCKS, type RawBlockLayout } from './raw-super-blocks';

/** A block of 32 weights as ggml-common.h lays it out, in bytes from its start. */
interface RawBlockType {
  readonly bytes: number;
  /** Of the float16 that is added to every weight; null: there is none. */
  readonly minimumAt: number | null;
  /** Of 32 bits, one for each weight; null: there are none. */
  readonly fifthBitsAt: number | null;
  readonly codesAt: number;
  /** A code takes half a byte, the first 16 in low halves; else a signed byte. */
  readonly halves: boolean;
  /** What is taken from a code. */
  readonly middle: number;
}

const WEIGHTS = 32;

/** Written from the format's description, and not from its encoders and decoders. */
const RAW_BLOCK_TYPES: Readonly<Record<string, RawBlockType>> = {
  Q4_0: { bytes: 18, minimumAt: null, fifthBitsAt: null, codesAt: 2, halves: true, middle: 8 },
  Q4_1: { bytes: 20, minimumAt: 2, fifthBitsAt: null, codesAt: 4, halves: true, middle: 0 },
  Q5_0: { bytes: 22, minimumAt: null, fifthBitsAt: 2, codesAt: 6, halves: true, middle: 16 },
  Q5_1: { bytes: 24, minimumAt: 2, fifthBitsAt: 4, codesAt: 8, halves: true, middle: 0 },
  Q8_0: { bytes: 34, minimumAt: null, fifthBitsAt: null, codesAt: 2, halves: false, middle: 0 },
};

/** Decoder of the verification: no code shared with the encoder, nor with the reader. */
class RawBlocks implements RawLinear {
  readonly columns: number;
  readonly scales: RawLinear['scales'];
  readonly zeros = null;
  readonly groups: RawLinear['groups'];

  constructor(
    private readonly type: RawBlockType,
    readonly rows: number,
    private readonly blocks: Buffer,
  ) {
    const count = blocks.length / type.bytes;
    this.columns = (count * WEIGHTS) / rows;
    const blocksOfRow = count / rows;
    const at = type.minimumAt === null ? [0] : [0, type.minimumAt];
    const values = new Float32Array(count * at.length);
    for (let i = 0; i < values.length; i++) {
      values[i] = this.half(Math.floor(i / at.length), at[i % at.length] as number);
    }
    this.scales = {
      ...{ part: 'blocks', dtype: 'F16', signed: true, values },
      where: (index) => {
        const block = Math.floor(index / at.length);
        return `block ${block % blocksOfRow}, row ${Math.floor(block / blocksOfRow)}`;
      },
    };
    const ofColumn = Int32Array.from({ length: this.columns }, (_, column) => Math.floor(column / WEIGHTS));
    this.groups = { part: 'blocks', ofColumn, count: blocksOfRow };
  }

  weights(first: number, count: number, weights = new Float32Array(count * this.columns)): Float32Array {
    const { minimumAt, middle } = this.type;
    const firstBlock = (first * this.columns) / WEIGHTS;
    for (let i = 0; i < weights.length; i += WEIGHTS) {
      const block = firstBlock + i / WEIGHTS;
      const scale = this.half(block, 0);
      // Nothing is added to what has no minimum: -0 is not 0.
      const minimum = minimumAt === null ? -0 : this.half(block, minimumAt);
      for (let j = 0; j < WEIGHTS; j++) weights[i + j] = scale * (this.code(block, j) - middle) + minimum;
    }
    return weights;
  }

  private code(block: number, index: number): number {
    const { bytes, codesAt, fifthBitsAt, halves } = this.type;
    const start = block * bytes;
    if (!halves) return this.blocks.readInt8(start + codesAt + index);
    const pair = this.blocks.readUInt8(start + codesAt + (index % 16));
    const low = index < 16 ? pair % 16 : Math.floor(pair / 16);
    if (fifthBitsAt === null) return low;
    const byte = this.blocks.readUInt8(start + fifthBitsAt + Math.floor(index / 8));
    return low + 16 * (Math.floor(byte / 2 ** (index % 8)) % 2);
  }

  private half(block: number, offset: number): number {
    return halfFloat(this.blocks.readUInt16LE(block * this.type.bytes + offset));
  }
}

/** The same of super-blocks and of blocks with uneven levels, weight after weight. */
class RawSuperBlocks implements RawLinear {
  readonly columns: number;
  readonly scales: RawLinear['scales'];
  readonly zeros = null;
  readonly groups: RawLinear['groups'];

  constructor(
    private readonly layout: RawBlockLayout,
    readonly rows: number,
    private readonly blocks: Buffer,
  ) {
    const { weights, bytes, halvesAt, groupSize } = layout;
    const count = blocks.length / bytes;
    const blocksOfRow = count / rows;
    this.columns = blocksOfRow * weights;
    const values = Float32Array.from({ length: count * halvesAt.length }, (_, i) => {
      const at = halvesAt[i % halvesAt.length] as number;
      return halfFloat(blocks.readUInt16LE(Math.floor(i / halvesAt.length) * bytes + at));
    });
    this.scales = {
      ...{ part: 'blocks', dtype: 'F16', signed: true, values },
      where: (index) => {
        const block = Math.floor(index / halvesAt.length);
        return `block ${block % blocksOfRow}, row ${Math.floor(block / blocksOfRow)}`;
      },
    };
    const ofColumn = Int32Array.from({ length: this.columns }, (_, column) => Math.floor(column / groupSize));
    this.groups = { part: 'blocks', ofColumn, count: Math.ceil(this.columns / groupSize) };
  }

  weights(first: number, count: number, weights = new Float32Array(count * this.columns)): Float32Array {
    const { weights: size, bytes } = this.layout;
    const firstBlock = (first * this.columns) / size;
    for (let i = 0; i < weights.length; i += size) {
      const begin = (firstBlock + i / size) * bytes;
      const block = this.blocks.subarray(begin, begin + bytes);
      for (let j = 0; j < size; j++) weights[i + j] = this.layout.weight(block, j);
    }
    return weights;
  }
}

/** The blocks of one linear. @returns null for a type that only others write. @throws Error saying what does not fit. */
export async function readRawBlocks(
  module: string,
  stored: StoredTensors,
  { describedBy, settingsOf }: LinearDescription,
): Promise<RawLinear | null> {
  const settings = settingsOf(module);
  if (!settings) throw new Error(`stored in blocks, but ${describedBy} that it is not`);
  const type = RAW_BLOCK_TYPES[settings.layout];
  const layout = RAW_SUPER_BLOCKS[settings.layout];
  const blockBytes = (type ?? layout)?.bytes;
  if (blockBytes === undefined) return null;
  const name = `${module}.blocks`;
  const [rows = 0, bytes = 0] = stored.tensors.get(name)?.shape ?? [];
  if (rows === 0 || bytes % blockBytes !== 0) {
    throw new Error(`rows have ${bytes} bytes, ${describedBy} blocks of ${settings.layout}, which take ${blockBytes}`);
  }
  const blocks = await stored.read(name);
  return type ? new RawBlocks(type, rows, blocks) : new RawSuperBlocks(layout as RawBlockLayout, rows, blocks);
}
