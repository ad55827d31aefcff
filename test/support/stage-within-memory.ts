/**
 * `node -r test/run-typescript.cjs test/support/stage-within-memory.ts BATCH_TOKENS MEBIBYTES`: runs a stage on 64 sequences with so much memory to be
 * had beyond what the process has by then (0: all), and prints what came of it as JSON. Linux: the limit is set by prlimit.
 */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createStageRunner } from '../../engine/graphs';
import { llama } from '../../engine/models';
import { bytesOf } from '../../engine/numbers';
import { sendableError } from '../../engine/tensor-thread/thread-error';

export interface StageWithinMemory {
  /** SHA-256 of what the stage left. */
  readonly product?: string;
  /** Of XᵀX. */
  readonly trace?: number;
  /** As it is sent between threads. */
  readonly error?: unknown;
}

export const SEQUENCES = 64;
export const SEQUENCE_LENGTH = 512;

const SHAPE = llama.shape({
  hidden_size: 192,
  intermediate_size: 576,
  num_hidden_layers: 1,
  num_attention_heads: 6,
  num_key_value_heads: 2,
  vocab_size: 64,
});

function limitMemory(mebibytes: number): void {
  if (mebibytes === 0) return;
  const pages = Number(readFileSync('/proc/self/statm', 'utf8').split(' ')[0]);
  execFileSync('prlimit', ['--pid', String(process.pid), `--as=${pages * 4096 + mebibytes * 2 ** 20}`]);
}

async function run(batchTokens: number, mebibytes: number): Promise<StageWithinMemory> {
  const [block] = llama.blocks(SHAPE, () => false);
  const stage = block?.stages.find(({ name }) => name === 'mlp');
  if (!block || !stage) throw new Error('no stage');
  const wave = (length: number, phase: number) =>
    new Float32Array(length).map((_, i) => Math.sin((i + 1) * (phase + 1)) / 8);
  const weights = new Map(
    [...block.tensors].map(([name, shape], i) => {
      const length = shape.reduce((product, size) => product * size, 1);
      return [name, { shape, data: wave(length, i) }] as const;
    }),
  );
  const hiddenOf = (sequences: number) => {
    const data = wave(sequences * SEQUENCE_LENGTH * SHAPE.hiddenSize, 0.3);
    return new Map([['hidden', { shape: [sequences, SEQUENCE_LENGTH, SHAPE.hiddenSize], data }]]);
  };
  const given = { architecture: 'llama', shape: SHAPE, threads: 1, kernels: 'typescript' } as const;
  const runner = createStageRunner({ ...given, temporaryBytes: Number.POSITIVE_INFINITY });
  // The session is made before memory is short.
  await runner.run({ stage, activations: hiddenOf(1), weights, gram: true });
  const activations = hiddenOf(SEQUENCES);
  limitMemory(mebibytes);
  try {
    const result = await runner.run({ stage, activations, weights, gram: true, batchTokens });
    const { data } = result.activations.get('product') as { data: Float32Array };
    const gram = result.gram as Float32Array;
    const columns = Math.sqrt(gram.length);
    const trace = Array.from({ length: columns }, (_, i) => gram[i * columns + i] as number).reduce((a, b) => a + b);
    return { product: createHash('sha256').update(bytesOf(data)).digest('hex'), trace };
  } catch (error) {
    return { error: sendableError(error) };
  }
}

if (require.main === module) {
  const [batchTokens, mebibytes] = process.argv.slice(2).map(Number) as [number, number];
  run(batchTokens, mebibytes).then((result) => process.stdout.write(JSON.stringify(result)));
}
