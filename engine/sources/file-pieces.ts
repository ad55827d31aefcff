import { type FileHandle, open } from 'node:fs/promises';
import { QuantloomError, type SourceTensor } from '../spec';

/** Divisible by every element size. Hashing it twice and scanning it takes about 2 milliseconds, up to 10 without SHA instructions. */
const CHUNK_BYTES = 2 ** 20;

/** A range of the file that lies in one tensor (starting with a whole element), or in none. */
export interface Piece {
  readonly offset: number;
  readonly length: number;
  readonly tensor: SourceTensor | null;
}

/** The whole file in order. A tensor without elements has one empty piece. */
export function* pieces(sorted: readonly SourceTensor[], totalBytes: number): Generator<Piece> {
  let at = 0;
  for (const tensor of sorted) {
    yield* cut(at, tensor.offset, null);
    if (tensor.bytes === 0) yield { offset: tensor.offset, length: 0, tensor };
    yield* cut(tensor.offset, tensor.offset + tensor.bytes, tensor);
    at = tensor.offset + tensor.bytes;
  }
  yield* cut(at, totalBytes, null);
}

function* cut(begin: number, end: number, tensor: SourceTensor | null): Generator<Piece> {
  for (let offset = begin; offset < end; offset += CHUNK_BYTES) {
    yield { offset, length: Math.min(CHUNK_BYTES, end - offset), tensor };
  }
}

/** Reads the next piece while the caller works on this one; the bytes are overwritten after the next but one. */
export async function* readPieces(
  path: string,
  pieces: Generator<Piece>,
  signal: AbortSignal | undefined,
): AsyncGenerator<{ piece: Piece; bytes: Uint8Array }> {
  const handle = await open(path, 'r');
  let spare = new Uint8Array(CHUNK_BYTES);
  let memory = new Uint8Array(CHUNK_BYTES);
  const start = (piece: Piece | undefined) => (piece === undefined ? null : readPiece(handle, path, piece, memory));
  let pending: Promise<{ piece: Piece; bytes: Uint8Array }> | null = null;
  try {
    const before = await handle.stat();
    pending = start(pieces.next().value);
    while (pending !== null) {
      const ready = await pending;
      signal?.throwIfAborted();
      [memory, spare] = [spare, memory];
      pending = start(pieces.next().value);
      yield ready;
    }
    const after = await handle.stat();
    if (after.size !== before.size || after.mtimeMs !== before.mtimeMs) throw sourceChanged(path, 'while it was read');
  } finally {
    // The read may still be writing into memory.
    await pending?.catch(() => undefined);
    await handle.close();
  }
}

async function readPiece(handle: FileHandle, path: string, piece: Piece, memory: Uint8Array) {
  let filled = 0;
  while (filled < piece.length) {
    const { bytesRead } = await handle.read(memory, filled, piece.length - filled, piece.offset + filled);
    if (bytesRead === 0) throw sourceChanged(path, `while it was read: it ended at byte ${piece.offset + filled}`);
    filled += bytesRead;
  }
  return { piece, bytes: memory.subarray(0, piece.length) };
}

/** What is read is not what was planned with. */
export function sourceChanged(path: string, how: string, cause?: unknown): QuantloomError {
  return new QuantloomError('SourceChanged', `${path} has changed ${how.replace(/\.$/, '')}. Start the job again.`, {
    cause,
  });
}
