import { execFile } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { openCheckpoint, verifyCheckpoint } from '../../engine/checkpoints';
import { FILE_TYPES, type FileType, readGgufHeader, writeGgufModel } from '../../engine/checkpoints/gguf';
import { perplexity } from '../../engine/evaluation';
import { openModelDirectory, packageRoot } from '../../engine/sources';
import { writeRandomModel } from '../support/random-model';
import { mean, readFileByLlamaCpp } from '../support/read-by-llama-cpp';
import type { TinyModelName } from '../tiny-models';

const PYTHON = process.env.QUANTLOOM_PEERS_PYTHON;
if (!PYTHON) throw new Error('Name a Python in QUANTLOOM_PEERS_PYTHON');
const LIBRARIES = join(packageRoot(), 'node_modules/@node-llama-cpp/linux-x64/bins/linux-x64');

// llama.cpp rounds activations to 8 bits before it multiplies them with blocks.
const ROUNDED_ACTIVATIONS = 0.02;
const WIDE = { hidden_size: 256, head_dim: 64, intermediate_size: 256, moe_intermediate_size: 256 };

describe('mixtures of experts that llama.cpp has quantized, read by us', () => {
  let directory: string;

  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), 'quantloom-peers-'));
  });

  afterAll(() => rm(directory, { recursive: true, force: true }));

  it.each<[TinyModelName, FileType, Readonly<Record<string, unknown>>]>([
    ['mixtral-grouped', 'Q4_K_M', { num_local_experts: 8 }],
    ['qwen2moe-shared', 'Q2_K', { shared_expert_intermediate_size: 96 }],
    ['qwen3moe-grouped', 'IQ4_XS', {}],
    ['qwen3moe-grouped', 'MXFP4_MOE', {}],
  ])('%s as %s: verified, with the likelihoods of llama.cpp', async (kind, fileType, changes) => {
    const model = await writeRandomModel(join(directory, kind), kind, { ...WIDE, ...changes });
    const [plain, path] = ['plain', 'quantized'].map((what) => join(directory, `${kind}-${fileType}-${what}.gguf`));
    const source = await openModelDirectory(model);
    await writeGgufModel({ source, path: plain as string, name: kind, fileType: 'F32', typeOf: () => 'F32' });
    const script = join(__dirname, 'llama-quantize.py');
    const words = [script, LIBRARIES, plain as string, path as string, String(FILE_TYPES[fileType])];
    await promisify(execFile)(PYTHON as string, words);

    const { tensors } = await readGgufHeader(path as string);
    expect(tensors.get('blk.1.ffn_down_exps.weight')?.type).not.toBe('F32');
    const found = await readFileByLlamaCpp(path as string);
    const checkpoint = await openCheckpoint(path as string);
    const tokens = Int32Array.from(found.tokens);
    const own = await perplexity({ checkpoint, tokens, context: tokens.length, threads: 1 });
    const difference = Math.abs(mean(found.negativeLogLikelihoods) - own.negativeLogLikelihood);
    expect(difference).toBeLessThan(ROUNDED_ACTIVATIONS * own.negativeLogLikelihood);
    expect((await verifyCheckpoint(path as string)).checks.flatMap(({ findings }) => findings)).toEqual([]);
  });
});
