import { QuantloomError } from '../spec';
import { GRIDS, gridOf } from './grids/grids';
import type { GridKind, QuantizedLinear } from './quantized-linear';

/** Everything that is not an array. `version` changes when the layout does. */
interface Header {
  readonly version: 1;
  /** Absent: affine, which was the only kind once. */
  readonly kind?: GridKind;
}

const LENGTH_BYTES = 4;

/**
 * A quantized linear as bytes, for the store: length of the header (uint32), header (JSON), then the arrays of its grid, one after the
 * other, little-endian. The same linear gives the same bytes.
 */
export function serializeQuantizedLinear(linear: QuantizedLinear): Uint8Array {
  const { header, arrays } = gridOf(linear).split(linear);
  const kind = linear.kind === 'affine' ? {} : { kind: linear.kind };
  const json = Buffer.from(JSON.stringify({ version: 1, ...kind, ...header } satisfies Header));
  const length = Buffer.alloc(LENGTH_BYTES);
  length.writeUInt32LE(json.length);
  const bytesOf = ({ buffer, byteOffset, byteLength }: ArrayBufferView) =>
    new Uint8Array(buffer, byteOffset, byteLength);
  return Buffer.concat([length, json, ...arrays.map(bytesOf)]);
}

/**
 * The inverse of serializeQuantizedLinear, in memory of its own.
 *
 * @throws QuantloomError ArtifactCorrupt when the bytes are not one.
 */
export function parseQuantizedLinear(bytes: Uint8Array): QuantizedLinear {
  return viewQuantizedLinear(new Uint8Array(bytes));
}

/**
 * The same with codes where they lie in `bytes`: no copy of the largest part.
 *
 * @throws QuantloomError ArtifactCorrupt when the bytes are not one.
 */
export function viewQuantizedLinear(bytes: Uint8Array): QuantizedLinear {
  const { header, at } = readHeader(bytes);
  let offset = at;
  const take = (length: number): Uint8Array => {
    offset += length;
    if (!(offset <= bytes.byteLength)) throw corrupt(`it has ${bytes.byteLength} bytes, expected more`);
    return bytes.subarray(offset - length, offset);
  };
  const grid = GRIDS[header.kind ?? 'affine'];
  if (!grid) throw corrupt(`its kind is ${header.kind}`);
  const linear = grid.join(header as unknown as Readonly<Record<string, unknown>>, take);
  if (offset !== bytes.byteLength) {
    throw corrupt(`it has ${bytes.byteLength} bytes, expected ${offset} for ${linear.rows} x ${linear.columns}`);
  }
  return linear;
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

function corrupt(why: string, cause?: unknown): QuantloomError {
  return new QuantloomError('ArtifactCorrupt', `The bytes are not a quantized linear: ${why}.`, { cause });
}
