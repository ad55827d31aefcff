import { fieldsAt, halfFloat, type PackedLanes } from './gptq-fields';

/** The bytes of one linear as they lie in the file, with what the config says about them. */
export interface RawGptqLinear {
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
export class GptqWeights {
  /** `[G, N]` as in the file. */
  readonly scales: Float32Array;
  /** `[G, N]`, as the file stores them. */
  readonly storedZeros: Uint8Array;
  /** What is added to a stored zero point. */
  readonly zeroOffset: 0 | 1;
  private readonly codes: PackedLanes;

  constructor(private readonly raw: RawGptqLinear) {
    const { N, G, bits } = raw;
    const planar = raw.checkpointFormat === 'gptq_p' || (bits > 4 && bits < 8);
    this.codes = { words: wordsOf(raw.qweight), bits, planar, laneStride: 1, wordStride: N };
    const zeros = { words: wordsOf(raw.qzeros), bits, planar, laneStride: (N / 32) * bits, wordStride: 1 };
    this.storedZeros = new Uint8Array(G * N);
    const ofRow = new Uint8Array(G);
    for (let row = 0; row < N; row++) {
      fieldsAt(zeros, 0, row, ofRow);
      for (let group = 0; group < G; group++) this.storedZeros[group * N + row] = ofRow[group] as number;
    }
    this.scales = Float32Array.from({ length: G * N }, (_, at) => halfFloat(raw.scales.readUInt16LE(2 * at)));
    this.zeroOffset = this.findZeroOffset();
  }

  /**
   * `W[first .. first + count, :]`, `(code - zero) * scale`, in memory of `count * K` numbers. Neighbouring rows lie beside each other in the
   * file: some at once are faster.
   */
  rows(first: number, count: number, weights = new Float32Array(count * this.raw.K)): Float32Array {
    const { K, N, bits, groupOf } = this.raw;
    const { scales, storedZeros, zeroOffset } = this;
    const largest = (1 << bits) - 1;
    const codes = new Uint8Array(count);
    for (let column = 0; column < K; column++) {
      const group = (groupOf[column] as number) * N + first;
      fieldsAt(this.codes, first, column, codes);
      for (let row = 0; row < count; row++) {
        const zero = ((storedZeros[group + row] as number) + zeroOffset) & largest;
        weights[row * K + column] = ((codes[row] as number) - zero) * (scales[group + row] as number);
      }
    }
    return weights;
  }

  private findZeroOffset(): 0 | 1 {
    const { bits, symmetric, checkpointFormat } = this.raw;
    const [first] = this.storedZeros;
    const uniform = symmetric && this.storedZeros.every((zero) => zero === first);
    if (uniform && first === 2 ** (bits - 1)) return 0;
    if (uniform && first === 2 ** (bits - 1) - 1) return 1;
    return checkpointFormat === 'gptq' ? 1 : 0;
  }
}

/** The little-endian words of a tensor, in aligned memory of their own. */
function wordsOf(bytes: Buffer): Uint32Array {
  return new Uint32Array(new Uint8Array(bytes).buffer);
}
