import { createHash } from 'node:crypto';
import { open, rm } from 'node:fs/promises';
import { basename } from 'node:path';
import { QuantloomError } from '../../../spec';
import type { OutputFile } from '../../output-file';
import type { GgufMetadata } from './gguf-value';
import { type GgufLayout, type GgufTensor, layoutGguf } from './layout-gguf';

/** The bytes of a tensor, in pieces of any size. */
export type TensorBytes = AsyncIterable<Uint8Array> | Iterable<Uint8Array>;

export interface WriteGgufOptions {
  /** Must not exist. */
  readonly path: string;
  readonly metadata: GgufMetadata;
  readonly tensors: readonly GgufTensor[];
  /** Asked for one tensor after the other, in the order of `tensors`; memory is what its pieces take. */
  read(tensor: GgufTensor): TensorBytes;
}

/**
 * Writes a GGUF file and synchronizes it; what was written when an error came is removed.
 *
 * @throws QuantloomError UnsupportedInput (see `layoutGguf`), OutputExists, OutputUnwritable; what `read` throws.
 */
export async function writeGguf({ path, metadata, tensors, read }: WriteGgufOptions): Promise<OutputFile> {
  const layout = layoutGguf(metadata, tensors);
  const file = await open(path, 'wx').catch((cause: NodeJS.ErrnoException) => {
    if (cause.code === 'EEXIST') {
      throw new QuantloomError('OutputExists', `${path} exists. Remove it or name another output.`, { cause });
    }
    throw unwritable(path, cause);
  });
  try {
    const hash = createHash('sha256');
    for await (const piece of ggufPieces(layout, read)) {
      hash.update(piece);
      await writeAll(file, piece).catch((cause: unknown) => {
        throw unwritable(path, cause);
      });
    }
    await file.sync();
    await file.close();
    return { name: basename(path), bytes: layout.fileBytes, sha256: hash.digest('hex') };
  } catch (error) {
    await file.close().catch(() => undefined);
    await rm(path, { force: true });
    throw error;
  }
}

/**
 * The bytes of a GGUF file in order, for whatever stores them.
 *
 * @throws QuantloomError UnsupportedInput when `read` gives another number of bytes than a tensor's shape and type take.
 */
export async function* ggufPieces(
  layout: GgufLayout,
  read: WriteGgufOptions['read'],
): AsyncGenerator<Uint8Array, void, undefined> {
  yield layout.header;
  for (const tensor of layout.tensors) {
    let bytes = 0;
    for await (const piece of read(tensor)) {
      bytes += piece.byteLength;
      if (bytes > tensor.bytes) break;
      yield piece;
    }
    if (bytes !== tensor.bytes) {
      throw new QuantloomError(
        'UnsupportedInput',
        `Tensor ${tensor.name} of shape [${tensor.shape.join(', ')}] takes ${tensor.bytes} bytes as ${tensor.type}, but ${bytes > tensor.bytes ? 'more' : bytes} were given.`,
        { details: { tensor: tensor.name } },
      );
    }
    const padding = (layout.alignment - (bytes % layout.alignment)) % layout.alignment;
    if (padding > 0) yield new Uint8Array(padding);
  }
}

async function writeAll(file: Awaited<ReturnType<typeof open>>, bytes: Uint8Array): Promise<void> {
  let at = 0;
  while (at < bytes.byteLength) at += (await file.write(bytes, at, bytes.byteLength - at)).bytesWritten;
}

function unwritable(path: string, cause: unknown): QuantloomError {
  return new QuantloomError(
    'OutputUnwritable',
    `${path} cannot be written: ${(cause as Error).message}. Make room or name another output.`,
    { cause, details: { path } },
  );
}
