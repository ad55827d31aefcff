import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { readSafetensorsHeader } from '../checkpoints/safetensors';
import { findNonFinite } from '../numbers';
import { type ArtifactRef, DTYPE_BITS, QuantloomError, type SourceTensor, type TensorTable } from '../spec';
import { pieces, readPieces, sourceChanged } from './file-pieces';

export interface FingerprintOptions {
  readonly signal?: AbortSignal;
  /** Called after each chunk (up to 1 MiB) with the bytes so far. */
  readonly onProgress?: (progress: { readonly bytes: number; readonly totalBytes: number }) => void;
}

export interface FileFingerprint {
  /** SHA-256 of the whole file, lower-case hex. */
  readonly sha256: string;
  readonly bytes: number;
  /** By name; `at.file` is absolute. Without a prototype. */
  readonly tensors: TensorTable;
}

/**
 * Reads one weight file once, from start to end, in chunks: SHA-256 of the file and of every tensor, and a check that F16, BF16, F32
 * and F64 tensors are finite. Takes two chunks of memory. The event loop turns after each chunk.
 *
 * @param directory of the model, absolute.
 * @param file relative to it.
 * @param tensors those of this file, as openModelDirectory found them; tensors of other files are ignored.
 * @throws QuantloomError NonFiniteWeights at the first such tensor, with how many elements and which is first; SourceChanged when the
 * file is not (or no longer) what `tensors` says. The signal's reason when it is aborted.
 */
export async function fingerprintFile(
  directory: string,
  file: string,
  tensors: Iterable<SourceTensor>,
  options: FingerprintOptions = {},
): Promise<FileFingerprint> {
  const path = join(directory, file);
  const sorted = [...tensors]
    .filter((tensor) => tensor.file === file)
    .sort((a, b) => a.offset - b.offset || a.bytes - b.bytes);
  const totalBytes = await checkUnsourceChanged(path, sorted);

  const whole = createHash('sha256');
  const table: Record<string, ArtifactRef> = Object.create(null);
  let current: TensorFingerprint | undefined;
  let bytesDone = 0;
  for await (const { piece, bytes } of readPieces(path, pieces(sorted, totalBytes), options.signal)) {
    whole.update(bytes);
    if (piece.tensor !== null) {
      if (current?.tensor !== piece.tensor) current = new TensorFingerprint(piece.tensor, path);
      current.update(bytes);
      if (current.complete) table[piece.tensor.name] = current.finish();
    }
    bytesDone += piece.length;
    options.onProgress?.({ bytes: bytesDone, totalBytes });
  }
  return { sha256: whole.digest('hex'), bytes: totalBytes, tensors: table };
}

class TensorFingerprint {
  private readonly hash = createHash('sha256');
  private bytesDone = 0;
  private nonFinite = 0;
  private firstNonFinite = -1;

  constructor(
    readonly tensor: SourceTensor,
    private readonly path: string,
  ) {}

  get complete(): boolean {
    return this.bytesDone === this.tensor.bytes;
  }

  /** The tensor's next bytes, whole elements. */
  update(bytes: Uint8Array): void {
    const { count, first } = findNonFinite(bytes, this.tensor.dtype);
    if (count > 0 && this.nonFinite === 0) {
      this.firstNonFinite = (this.bytesDone * 8) / DTYPE_BITS[this.tensor.dtype] + first;
    }
    this.nonFinite += count;
    this.bytesDone += bytes.length;
    this.hash.update(bytes);
  }

  finish(): ArtifactRef {
    const { name, dtype, shape, bytes, offset } = this.tensor;
    if (this.nonFinite > 0) {
      const elements = `${this.nonFinite} NaN or infinite ${this.nonFinite === 1 ? 'element' : 'elements'}`;
      throw new QuantloomError(
        'NonFiniteWeights',
        `Tensor ${name} of ${this.path} has ${elements}, the first at index ${this.firstNonFinite} of shape [${shape.join(', ')}]. ` +
          'The checkpoint is damaged: download it again, or convert it without overflow.',
        { details: { tensor: name, file: this.path, count: this.nonFinite, first: this.firstNonFinite } },
      );
    }
    return { kind: 'weight', sha256: this.hash.digest('hex'), bytes, dtype, shape, at: { file: this.path, offset } };
  }
}

/** @returns the size of the file. */
async function checkUnsourceChanged(path: string, tensors: readonly SourceTensor[]): Promise<number> {
  const header = await readSafetensorsHeader(path, 'InvalidModel').catch((cause) => {
    throw QuantloomError.is(cause) && !cause.retryable
      ? sourceChanged(path, `since it was inspected: ${cause.message}`, cause)
      : cause;
  });
  if (header.tensors.size !== tensors.length) {
    throw sourceChanged(path, `since it was inspected: it holds ${header.tensors.size} tensors, not ${tensors.length}`);
  }
  for (const { name, storedAs = name, dtype, shape, offset, bytes } of tensors) {
    const now = header.tensors.get(storedAs);
    if (JSON.stringify(now) !== JSON.stringify({ dtype, shape, offset, bytes })) {
      throw sourceChanged(path, `since it was inspected: tensor ${name} is not what and where it was`);
    }
  }
  return header.fileBytes;
}
