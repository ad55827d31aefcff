import { QuantloomError } from '../spec';
import type { QuantizedLinear } from './quantized-linear';

/** Everything that is not an array. `version` changes when the layout does. */
type Header = Pick<QuantizedLinear, 'rows' | 'columns' | 'bits' | 'groupSize' | 'symmetric'> & { readonly version: 1 };

const LENGTH_BYTES = 4;

/**
 * A quantized linear as bytes, for the store: length of the header (uint32), header (JSON), then codes (uint8), zeros (uint8), scales
 * (float32) and groupOf (int32), one after the other, little-endian. The same linear gives the same bytes.
 */
export function serializeQuantizedLinear(linear: QuantizedLinear): Uint8Array {
  const { rows, columns, bits, groupSize, symmetric, codes, zeros, scales, groupOf } = linear;
  const header: Header = { version: 1, rows, columns, bits, groupSize, symmetric };
  const json = Buffer.from(JSON.stringify(header));
  const length = Buffer.alloc(LENGTH_BYTES);
  length.writeUInt32LE(json.length);
  return Buffer.concat([length, json, codes, zeros, bytesOf(scales), bytesOf(groupOf)]);
}

/**
 * The inverse of serializeQuantizedLinear, in memory of its own.
 *
 * @throws QuantloomError ArtifactCorrupt when the bytes are not one.
 */
export function parseQuantizedLinear(bytes: Uint8Array): QuantizedLinear {
  const view = viewQuantizedLinear(bytes);
  return { ...view, codes: new Uint8Array(view.codes), zeros: new Uint8Array(view.zeros) };
}

/**
 * The same with codes and zero points where they lie in `bytes`: no copy of the largest part.
 *
 * @throws QuantloomError ArtifactCorrupt when the bytes are not one.
 */
export function viewQuantizedLinear(bytes: Uint8Array): QuantizedLinear {
  const { header, at } = readHeader(bytes);
  const { rows, columns, bits, groupSize, symmetric } = header;
  const groups = Math.ceil(columns / groupSize);
  const lengths = [rows * columns, rows * groups, rows * groups * 4, columns * 4] as const;
  const expected = lengths.reduce((sum, length) => sum + length, at);
  if (bytes.byteLength !== expected) {
    throw corrupt(`it has ${bytes.byteLength} bytes, expected ${expected} for ${rows} x ${columns}`);
  }
  let offset = at;
  const take = (length: number): Uint8Array => {
    offset += length;
    return bytes.subarray(offset - length, offset);
  };
  const [codes, zeros, scales, groupOf] = [take(lengths[0]), take(lengths[1]), take(lengths[2]), take(lengths[3])];
  return {
    rows,
    columns,
    bits,
    groupSize,
    symmetric,
    codes,
    zeros,
    // Copies, since typed arrays of four-byte numbers must be aligned.
    scales: new Float32Array(new Uint8Array(scales).buffer),
    groupOf: new Int32Array(new Uint8Array(groupOf).buffer),
  };
}

function readHeader(bytes: Uint8Array): { header: Header; at: number } {
  if (bytes.byteLength < LENGTH_BYTES) throw corrupt(`it has only ${bytes.byteLength} bytes`);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const at = LENGTH_BYTES + view.getUint32(0, true);
  if (at > bytes.byteLength) throw corrupt(`its header ends at byte ${at} of ${bytes.byteLength}`);
  let header: Header;
  try {
    header = JSON.parse(new TextDecoder().decode(bytes.subarray(LENGTH_BYTES, at)));
  } catch (cause) {
    throw corrupt('its header is not JSON', cause);
  }
  if (header?.version !== 1) throw corrupt(`its version is ${header?.version}, expected 1`);
  return { header, at };
}

function bytesOf(array: Float32Array | Int32Array): Uint8Array {
  return new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
}

function corrupt(why: string, cause?: unknown): QuantloomError {
  return new QuantloomError('ArtifactCorrupt', `The bytes are not a quantized linear: ${why}.`, { cause });
}
