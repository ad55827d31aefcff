import type { LinearDescription } from '../linear-storage';
import { halfFloat, rawFloats } from '../verification/raw-floats';
import type { RawLinear } from '../verification/raw-linear';
import type { StoredTensors } from '../verification/stored-tensors';

/**
 * Decoder of the verification: no code shared with the packer, nor with the reader. Levels are those of the file's own tables.
 *
 * @throws Error saying what of the tensors does not agree with each other or with what is said of them.
 */
export async function readRawLinear(
  module: string,
  stored: StoredTensors,
  { describedBy, settingsOf }: LinearDescription,
): Promise<RawLinear> {
  const settings = settingsOf(module);
  if (!settings) throw new Error(`stored quantized, but ${describedBy} that it is not`);
  const isInt8 = stored.tensors.has(`${module}.SCB`);
  if (isInt8 !== (settings.layout === 'int8')) {
    throw new Error(`the tensors are of ${isInt8 ? 'int8' : '4 bits'}, ${describedBy} ${settings.layout}`);
  }
  if (isInt8) return readBytes(module, stored);
  const linear = await readNibbles(module, stored, settings.layout);
  if (settings.groupSize !== 0 && settings.groupSize !== linear.blockSize) {
    throw new Error(`blocks have ${linear.blockSize} weights, ${describedBy} ${settings.groupSize}`);
  }
  return linear;
}

async function readBytes(module: string, stored: StoredTensors): Promise<RawLinear> {
  const [rows = 0, columns = 0] = stored.tensors.get(`${module}.weight`)?.shape ?? [];
  const codes = await stored.read(`${module}.weight`);
  const largest = rawFloats(await stored.read(`${module}.SCB`), 'F32');
  if (largest.length !== rows) throw new Error(`SCB has ${largest.length} numbers for ${rows} rows`);
  return {
    rows,
    columns,
    scales: { part: 'SCB', dtype: 'F32', values: largest, where: (row) => `row ${row}`, signed: true },
    zeros: null,
    groups: null,
    weights(first, count, memory = new Float32Array(count * columns)) {
      // Products in float32, in the order in which bitsandbytes takes them.
      const scaled = new Float32Array(1);
      const share = Math.fround(1 / 127);
      for (let at = 0; at < count * columns; at++) {
        scaled[0] = codes.readInt8(first * columns + at) * (largest[first + Math.floor(at / columns)] as number);
        memory[at] = (scaled[0] as number) * share;
      }
      return memory;
    },
  };
}

interface State {
  readonly blocksize: number;
  readonly dtype: string;
  readonly shape: readonly [number, number];
  readonly nested_blocksize?: number;
  readonly nested_offset?: number;
}

async function readNibbles(
  module: string,
  stored: StoredTensors,
  type: string,
): Promise<RawLinear & { readonly blockSize: number }> {
  const bytes = (part: string) => stored.read(`${module}.weight.${part}`);
  const state = JSON.parse((await bytes(`quant_state.bitsandbytes__${type}`)).toString('utf8')) as State;
  const { blocksize, dtype, shape } = state;
  const [rows, columns] = shape;
  const packed = await stored.read(`${module}.weight`);
  if (packed.length !== Math.ceil((rows * columns) / 2)) {
    throw new Error(`weight has ${packed.length} bytes for ${rows} x ${columns} weights of 4 bits`);
  }
  const table = rawFloats(await bytes('quant_map'), 'F32');
  const largest =
    state.nested_offset === undefined
      ? rawFloats(await bytes('absmax'), 'F32')
      : nestedScales(state, {
          codes: await bytes('absmax'),
          table: rawFloats(await bytes('nested_quant_map'), 'F32'),
          largest: rawFloats(await bytes('nested_absmax'), 'F32'),
        });
  const blocks = Math.ceil((rows * columns) / blocksize);
  if (largest.length !== blocks) throw new Error(`absmax has ${largest.length} numbers for ${blocks} blocks`);
  const rounded = roundingTo(dtype);
  return {
    rows,
    columns,
    blockSize: blocksize,
    scales: { part: 'weight.absmax', dtype: 'F32', values: largest, where: (block) => `block ${block}`, signed: true },
    zeros: null,
    groups: null,
    weights(first, count, memory = new Float32Array(count * columns)) {
      for (let at = 0; at < count * columns; at++) {
        const place = first * columns + at;
        const pair = packed[Math.floor(place / 2)] as number;
        const code = place % 2 === 0 ? Math.floor(pair / 16) : pair % 16;
        memory[at] = (table[code] as number) * (largest[Math.floor(place / blocksize)] as number);
      }
      return rounded(memory);
    },
  };
}

function nestedScales(
  { nested_blocksize: blockSize = 256, nested_offset: offset = 0 }: State,
  parts: { readonly codes: Buffer; readonly table: Float32Array; readonly largest: Float32Array },
): Float32Array {
  const scales = new Float32Array(parts.codes.length);
  // Assigned in two steps: each is rounded to float32.
  parts.codes.forEach((code, block) => {
    scales[block] = (parts.table[code] as number) * (parts.largest[Math.floor(block / blockSize)] as number);
  });
  for (let block = 0; block < scales.length; block++) scales[block] = (scales[block] as number) + offset;
  return scales;
}

/** Rounds in place to the dtype that the weights have when they are used. */
function roundingTo(dtype: string): (values: Float32Array) => Float32Array {
  if (dtype === 'float32') return (values) => values;
  if (dtype === 'bfloat16') return roundToUpperHalf;
  if (dtype === 'float16') return roundToHalf;
  throw new Error(`the weights are said to be ${dtype}, which is not float32, float16 or bfloat16`);
}

function roundToUpperHalf(values: Float32Array): Float32Array {
  const words = new Uint32Array(values.buffer, values.byteOffset, values.length);
  for (let at = 0; at < words.length; at++) {
    const word = words[at] as number;
    const [upper, lower] = [word >>> 16, word & 0xffff];
    const up = lower > 0x8000 || (lower === 0x8000 && upper % 2 === 1);
    words[at] = ((upper + (up ? 1 : 0)) << 16) >>> 0;
  }
  return values;
}

/** To the nearer of the two float16 numbers around each value, found by bisection of their bits. */
function roundToHalf(values: Float32Array): Float32Array {
  for (let at = 0; at < values.length; at++) {
    const value = Math.abs(values[at] as number);
    let [low, high] = [0, 0x7c00];
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if (halfFloat(middle) <= value) low = middle;
      else high = middle;
    }
    const [below, above] = [value - halfFloat(low), (high === 0x7c00 ? 65536 : halfFloat(high)) - value];
    const bits = above < below || (above === below && low % 2 === 1) ? high : low;
    values[at] = Math.sign(values[at] as number) * halfFloat(bits);
  }
  return values;
}
