import type { StageBatch, StageSums } from '../engine/graphs';
import { bytesOf } from '../engine/numbers';
import type { ArtifactRef } from '../engine/spec';
import type { ArtifactReader } from '../engine/store';
import type { OpenStage } from '../engine/tensor-thread';
import { FloatBuffers } from './float-buffers';
import type { ArtifactWriting } from './step';

/** A slice's way through a stage. Activations are F32 `[sequences, sequenceLength, features]`. */
export interface SliceStream {
  readonly sequences: number;
  /** Sequences that are run at once. */
  readonly perBatch: number;
  /** Values per sequence, by name. */
  readonly strides: Readonly<Record<string, number>>;
  readonly readers: Readonly<Record<string, ArtifactReader>>;
  readonly writers: Readonly<Record<string, ArtifactWriting>>;
  readonly open: () => Promise<OpenStage>;
}

export interface StreamedSlice extends StageSums {
  /** By name: what was written. */
  readonly written: Readonly<Record<string, ArtifactRef>>;
}

const buffers = new FloatBuffers();

/**
 * Reads a batch ahead while the stage runs on the one before, and writes the one before that: in memory of a few batches, however
 * long the slice is. Nothing is written for good before everything that was read has proven to be right.
 */
export async function streamSlice(slice: SliceStream): Promise<StreamedSlice> {
  const { sequences, perBatch } = slice;
  let reading = readBatch(slice, 0);
  reading.catch(() => undefined); // looked at below, after the stage is open
  const stage = await slice.open();
  try {
    let writing: Promise<void> = Promise.resolve();
    for (let first = 0; first < sequences; first += perBatch) {
      const batch = await reading;
      if (first + perBatch < sequences) {
        reading = readBatch(slice, first + perBatch);
        reading.catch(() => undefined);
      }
      const done = await stage.run(batch);
      Object.values(done.inputs).forEach((array) => {
        buffers.give(array);
      });
      await writing;
      writing = writeBatch(slice, done);
      writing.catch(() => undefined);
    }
    const sums = await stage.finish();
    stage.close();
    await writing;
    for (const reader of Object.values(slice.readers)) await reader.finish();
    const written: Record<string, ArtifactRef> = {};
    for (const [name, writer] of Object.entries(slice.writers)) written[name] = await writer.commit();
    return { ...sums, written };
  } finally {
    stage.close();
    await reading.catch(() => undefined);
  }
}

async function readBatch({ sequences, perBatch, strides, readers, writers }: SliceStream, first: number) {
  const count = Math.min(perBatch, sequences - first);
  const take = (name: string) => {
    const stride = strides[name] as number;
    return buffers.take(count * stride, Math.min(perBatch, sequences) * stride);
  };
  const inputs: Record<string, Float32Array> = {};
  for (const [name, reader] of Object.entries(readers)) {
    inputs[name] = take(name);
    await reader.read(bytesOf(inputs[name]));
  }
  const outputs = Object.fromEntries(Object.keys(writers).map((name) => [name, take(name)]));
  return { sequences: count, inputs, outputs } satisfies StageBatch;
}

async function writeBatch({ writers }: SliceStream, { outputs }: StageBatch): Promise<void> {
  for (const [name, writer] of Object.entries(writers)) {
    const output = outputs[name] as Float32Array;
    await writer.write(bytesOf(output));
    buffers.give(output);
  }
}
