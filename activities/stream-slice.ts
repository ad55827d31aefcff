import type { StageSums } from '../engine/graphs';
import { ReusedBuffers } from '../engine/memory';
import { bytesOf } from '../engine/numbers';
import type { ArtifactRef } from '../engine/spec';
import type { ArtifactReader } from '../engine/store';
import type { OpenStage, SharedActivation, SharedBatch } from '../engine/tensor-thread';
import type { ArtifactWriting } from './step';

/** A slice's way through a stage. Activations are `[sequences, sequenceLength, features]`. */
export interface SliceStream {
  readonly sequences: number;
  /** Sequences that are run at once. */
  readonly perBatch: number;
  /** By name. */
  readonly layouts: Readonly<Record<string, ActivationLayout>>;
  readonly readers: Readonly<Record<string, ArtifactReader>>;
  /** The original model's hidden state behind a linear whose mismatch is summed; of the first `sequences`. */
  readonly original: { readonly reader: ArtifactReader; readonly sequences: number } | null;
  readonly writers: Readonly<Record<string, ArtifactWriting>>;
  readonly open: () => Promise<OpenStage>;
}

export interface ActivationLayout {
  readonly dtype: 'F32' | 'BF16';
  /** Values per sequence. */
  readonly stride: number;
}

export interface StreamedSlice extends StageSums {
  /** By name: what was written. */
  readonly written: Readonly<Record<string, ArtifactRef>>;
  /** That the stage ran (XᵀX included), and that was waited for the store. */
  readonly seconds: { readonly stage: number; readonly store: number };
}

/** Bytes of buffers that are kept for the batches that follow. */
const KEPT_BYTES = 256 << 20;

/** Shared with the thread that computes, so that nothing is copied on its way there and back. */
const buffers = new ReusedBuffers((bytes) => new SharedArrayBuffer(bytes), KEPT_BYTES);

/**
 * Reads a batch ahead while the stage runs on the one before, and writes the one before that: in memory of a few batches, however
 * long the slice is. Nothing is written for good before everything that was read has proven to be right.
 */
export async function streamSlice(slice: SliceStream): Promise<StreamedSlice> {
  const { sequences, perBatch } = slice;
  const seconds = { stage: 0, store: 0 };
  const timed = async <T>(part: keyof typeof seconds, work: Promise<T>): Promise<T> => {
    const began = performance.now();
    const result = await work;
    seconds[part] += (performance.now() - began) / 1000;
    return result;
  };
  let reading = readBatch(slice, 0);
  reading.catch(() => undefined); // looked at below, after the stage is open
  const stage = await slice.open();
  let running: Promise<SharedBatch> | null = null;
  try {
    let writing: Promise<void> = Promise.resolve();
    const settle = async (run: Promise<SharedBatch>): Promise<void> => {
      const done = await timed('stage', run);
      for (const { buffer } of Object.values(done.inputs)) buffers.give(buffer);
      if (done.original) buffers.give(done.original.buffer);
      await timed('store', writing);
      writing = writeBatch(slice, done);
      writing.catch(() => undefined);
    };
    for (let first = 0; first < sequences; first += perBatch) {
      const batch = await timed('store', reading);
      if (first + perBatch < sequences) {
        reading = readBatch(slice, first + perBatch);
        reading.catch(() => undefined);
      }
      // Handed over before the one ahead of it is done, so that the stage need not wait for this thread.
      const ahead: Promise<SharedBatch> | null = running;
      running = stage.run(batch).then(() => batch);
      running.catch(() => undefined);
      if (ahead) await settle(ahead);
    }
    if (running) await settle(running);
    const sums = await timed('stage', stage.finish());
    stage.close();
    const written = await timed('store', finish(slice, writing));
    return { ...sums, written, seconds };
  } finally {
    // After a failure a batch may still be under way: it must not meet the next stage.
    await (running as Promise<SharedBatch> | null)?.catch(() => undefined);
    stage.close();
    await reading.catch(() => undefined);
  }
}

async function finish(
  { readers, writers, original }: SliceStream,
  writing: Promise<void>,
): Promise<Record<string, ArtifactRef>> {
  await writing;
  for (const reader of Object.values(readers)) await reader.finish();
  await original?.reader.finish();
  const written: Record<string, ArtifactRef> = {};
  for (const [name, writer] of Object.entries(writers)) written[name] = await writer.commit();
  return written;
}

async function readBatch(
  { sequences, perBatch, layouts, readers, writers, original }: SliceStream,
  first: number,
): Promise<SharedBatch> {
  const count = Math.min(perBatch, sequences - first);
  const take = (name: string, count: number): SharedActivation => {
    const { dtype, stride } = layouts[name] as ActivationLayout;
    // All batches take the same size, so that the last one finds a buffer too.
    const most = Math.min(perBatch, sequences) * stride;
    return dtype === 'F32'
      ? new Float32Array(buffers.take(4 * most), 0, count * stride)
      : new Uint16Array(buffers.take(2 * most), 0, count * stride);
  };
  const inputs: Record<string, SharedActivation> = {};
  for (const [name, reader] of Object.entries(readers)) {
    inputs[name] = take(name, count);
    await reader.read(bytesOf(inputs[name]));
  }
  const outputs = Object.fromEntries(Object.keys(writers).map((name) => [name, take(name, count)]));
  const known = Math.min(count, (original?.sequences ?? 0) - first);
  if (!original || known <= 0) return { sequences: count, inputs, outputs };
  const behind = take('hidden', known);
  await original.reader.read(bytesOf(behind));
  return { sequences: count, inputs, outputs, original: behind };
}

async function writeBatch({ writers }: SliceStream, { outputs }: SharedBatch): Promise<void> {
  for (const [name, writer] of Object.entries(writers)) {
    const output = outputs[name] as SharedActivation;
    await writer.write(bytesOf(output));
    buffers.give(output.buffer);
  }
}
