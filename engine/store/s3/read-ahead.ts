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
