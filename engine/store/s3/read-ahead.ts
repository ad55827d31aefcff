import type { S3Bucket } from './s3-bucket';

const PIECE_BYTES = 8 << 20;
const PIECES_AT_ONCE = 4;

/**
 * An object from its beginning to its end, several ranges of it at a time, in order. It ends early when the object is shorter than said.
 *
 * @returns null in place of a piece: the object is gone.
 */
export async function* readAhead(bucket: S3Bucket, name: string, bytes: number): AsyncGenerator<Uint8Array | null> {
  const underWay: Promise<Uint8Array | null>[] = [];
  let begin = 0;
  const fetch = async (from: number, length: number) => {
    const piece = Buffer.allocUnsafeSlow(length);
    const found = await bucket.readRange(name, from, piece);
    return found === null ? null : piece.subarray(0, found);
  };
  const fill = () => {
    for (; underWay.length < PIECES_AT_ONCE && begin < bytes; begin += PIECE_BYTES) {
      const piece = fetch(begin, Math.min(PIECE_BYTES, bytes - begin));
      // Whoever waits for it hears of it; who stopped reading does not care.
      piece.catch(() => undefined);
      underWay.push(piece);
    }
  };
  for (fill(); underWay.length > 0; fill()) yield (await underWay.shift()) as Uint8Array | null;
}

/**
 * An object into memory, several ranges of it at a time, each to its place.
 *
 * @param arrived is shown the ranges in order.
 * @returns how many bytes there were, where it is shorter than `target`; null: the object is gone.
 */
export async function readWhole(
  bucket: S3Bucket,
  name: string,
  target: Uint8Array,
  arrived: (piece: Uint8Array) => Promise<void>,
): Promise<number | null> {
  const pieces = Array.from({ length: Math.ceil(target.byteLength / PIECE_BYTES) }, (_, i) =>
    target.subarray(i * PIECE_BYTES, (i + 1) * PIECE_BYTES),
  );
  const found = pieces.map((): Promise<number | null> | null => null);
  let begun = 0;
  const begin = () => {
    if (begun === pieces.length) return;
    const index = begun++;
    const piece = bucket.readRange(name, index * PIECE_BYTES, pieces[index] as Uint8Array);
    piece.catch(() => undefined); // told by the one that waits for it
    found[index] = piece;
  };
  while (begun < Math.min(PIECES_AT_ONCE, pieces.length)) begin();
  let bytes = 0;
  for (const [index, piece] of pieces.entries()) {
    const length = await found[index];
    if (length === null || length === undefined) return null;
    begin();
    await arrived(piece.subarray(0, length));
    bytes += length;
    if (length < piece.byteLength) break;
  }
  return bytes;
}
