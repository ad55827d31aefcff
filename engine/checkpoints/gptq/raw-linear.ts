import type { LinearDescription } from '../linear-storage';
import { fieldsAt, type PackedLanes, wordsOf } from '../verification/packed-fields';
import { rawFloats } from '../verification/raw-floats';
import type { RawLinear } from '../verification/raw-linear';
import type { StoredTensors } from '../verification/stored-tensors';

/** The bytes of one linear as they lie in the file, with what the config says about them. */
export interface RawGptqTensors {
  /** Columns. */
  readonly K: number;
  /** Rows. */
  readonly N: number;
  /** Groups. */
  readonly G: number;
  readonly bits: number;
  readonly qweight: Buffer;
  readonly qzeros: Buffer;
  /** Float16. */
  readonly scales: Buffer;
  /** `[K]` */
  readonly groupOf: Int32Array;
  readonly checkpointFormat: string;
  readonly symmetric: boolean;
}

/** Decoder of the verification: no code shared with the packer, nor with the reader. */
export class RawGptq implements RawLinear {
  readonly rows: number;
  readonly columns: number;
  /** `[G, N]` as in the file. */
  readonly scales: RawLinear['scales'];
  /** `[G, N]`, as the file stores them. */
  readonly zeros: NonNullable<RawLinear['zeros']>;
  readonly groups: RawLinear['groups'];
  private readonly codes: PackedLanes;

  constructor(private readonly raw: RawGptqTensors) {
    const { K, N, G, bits, symmetric } = raw;
    this.rows = N;
    this.columns = K;
    const planar = raw.checkpointFormat === 'gptq_p' || (bits > 4 && bits < 8);
    this.codes = { words: wordsOf(raw.qweight), bits, planar, laneStride: 1, wordStride: N };
    const zeros = { words: wordsOf(raw.qzeros), bits, planar, laneStride: (N / 32) * bits, wordStride: 1 };
    const stored = new Uint8Array(G * N);
    const ofRow = new Uint8Array(G);
    for (let row = 0; row < N; row++) {
      fieldsAt(zeros, 0, row, ofRow);
      for (let group = 0; group < G; group++) stored[group * N + row] = ofRow[group] as number;
    }
    const where = (index: number) => `group ${Math.floor(index / N)}, row ${index % N}`;
    this.scales = { part: 'scales', dtype: 'F16', values: rawFloats(raw.scales, 'F16'), where };
    this.zeros = { part: 'qzeros', values: stored, offset: this.zeroOffset(stored), bits, symmetric, where };
    this.groups = { part: 'g_idx', ofColumn: raw.groupOf, count: G };
  }

  /** Neighbouring rows lie beside each other in the file. */
  weights(first: number, count: number, weights = new Float32Array(count * this.columns)): Float32Array {
    const { K, N, bits, groupOf } = this.raw;
    const { values: scales } = this.scales;
    const { values: storedZeros, offset } = this.zeros;
    const largest = (1 << bits) - 1;
    const codes = new Uint8Array(count);
    for (let column = 0; column < K; column++) {
      const group = (groupOf[column] as number) * N + first;
      fieldsAt(this.codes, first, column, codes);
      for (let row = 0; row < count; row++) {
        const zero = ((storedZeros[group + row] as number) + offset) & largest;
        weights[row * K + column] = ((codes[row] as number) - zero) * (scales[group + row] as number);
      }
    }
    return weights;
  }

  private zeroOffset(stored: Uint8Array): 0 | 1 {
    const { bits, symmetric, checkpointFormat } = this.raw;
    const [first] = stored;
    const uniform = symmetric && stored.every((zero) => zero === first);
    if (uniform && first === 2 ** (bits - 1)) return 0;
    if (uniform && first === 2 ** (bits - 1) - 1) return 1;
    return checkpointFormat === 'gptq' ? 1 : 0;
  }
}

/** The bytes of one linear, sized by the tensors alone: what is said of it has to agree. @throws Error saying what does not. */
export async function readRawLinear(
  module: string,
  stored: StoredTensors,
  { describedBy, settingsOf }: LinearDescription,
): Promise<RawLinear> {
  const settings = settingsOf(module);
  if (!settings) throw new Error(`stored quantized, but ${describedBy} that it is not`);
  const partOf = (part: string) => stored.tensors.get(`${module}.${part}`);
  const [words = 0, N = 0] = partOf('qweight')?.shape ?? [];
  const [G = 0] = partOf('scales')?.shape ?? [];
  const K = partOf('g_idx')?.shape[0] ?? (words * 32) / settings.bits;
  const bits = (words * 32) / K;
  if (bits !== settings.bits) throw new Error(`the tensors hold ${bits} bits, ${describedBy} ${settings.bits}`);
  const dtype = partOf('scales')?.dtype;
  if (dtype !== 'F16') throw new Error(`scales are ${dtype}, not F16`);
  const [qweight, qzeros, scales] = (await Promise.all(
    ['qweight', 'qzeros', 'scales'].map((part) => stored.read(`${module}.${part}`)),
  )) as [Buffer, Buffer, Buffer];
  const groupSize = settings.groupSize === -1 ? K : settings.groupSize;
  const index = partOf('g_idx') ? await stored.read(`${module}.g_idx`) : null;
  const groupOf = Int32Array.from({ length: K }, (_, column) =>
    index ? index.readInt32LE(4 * column) : Math.floor(column / groupSize),
  );
  const { layout: checkpointFormat, symmetric } = settings;
  return new RawGptq({ K, N, G, bits, qweight, qzeros, scales, groupOf, checkpointFormat, symmetric });
}
