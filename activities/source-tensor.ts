import { open } from 'node:fs/promises';
import { transposedBytes } from '../engine/numbers';
import { type ArtifactRef, DTYPE_BITS, type DType, QuantloomError } from '../engine/spec';
import { sha256Of } from '../engine/store';

/**
 * Reads a tensor of the source model where it lies, and checks that it is still what was fetched.
 *
 * @param content where to, as long as the tensor; default memory of its own.
 * @throws QuantloomError SourceChanged.
 */
export async function readSourceTensor(
  ref: ArtifactRef,
  content: Uint8Array = new Uint8Array(ref.bytes),
): Promise<Uint8Array> {
  const { file, offset } = ref.at as NonNullable<ArtifactRef['at']>;
  const handle = await open(file, 'r').catch((cause: unknown) => {
    throw changed(`${file} cannot be read any more (${String(cause)})`, cause);
  });
  try {
    let done = 0;
    while (done < content.byteLength) {
      const { bytesRead } = await handle.read(
        content,
        done,
        Math.min(content.byteLength - done, 1 << 26),
        offset + done,
      );
      if (bytesRead === 0)
        throw changed(`${file} ends at byte ${offset + done}; a tensor was to end at ${offset + ref.bytes}`);
      done += bytesRead;
    }
  } finally {
    await handle.close();
  }
  const sha256 = await sha256Of(content);
  if (sha256 !== ref.sha256) {
    throw changed(`the ${ref.bytes} bytes at ${offset} of ${file} have SHA-256 ${sha256}; they had ${ref.sha256}`);
  }
  if (ref.transposed) {
    const columns = ref.shape?.at(-1) as number;
    content.set(transposedBytes(content, columns, DTYPE_BITS[ref.dtype as DType] / 8));
  }
  return content;
}

/** A reference to the tensor as the source has it. */
export function asStored({ transposed, ...ref }: ArtifactRef): ArtifactRef {
  return transposed ? { ...ref, shape: ref.shape?.toReversed() } : ref;
}

function changed(what: string, cause?: unknown): QuantloomError {
  return new QuantloomError(
    'SourceChanged',
    `The source model changed while it was being quantized: ${what}. Start the job again to quantize the model as it is now.`,
    { cause },
  );
}
