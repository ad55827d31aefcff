import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openCheckpoint } from '../../engine/checkpoints';
import {
  BLOCK_TYPES,
  type BlockTypeName,
  decodeBlocks,
  encodeBlocks,
  type FileType,
  writeGgufModel,
} from '../../engine/checkpoints/gguf';
import { type DenseReader, perplexity } from '../../engine/evaluation';
import { encodeFloats } from '../../engine/numbers';
import { openModelDirectory, packageRoot } from '../../engine/sources';

export const DEMO_MODEL = join(packageRoot(), 'assets', 'demo-model');
export const TOKENS = 160;
export const WORDS = 16;

export interface LlamaCppReading {
  readonly tokens: number[];
  readonly negativeLogLikelihoods: number[];
  readonly generated: number[];
}

/** The text that is read, of the demo model's held-out one. */
export async function demoText(): Promise<string> {
  return (await readFile(join(DEMO_MODEL, 'held-out.txt'), 'utf8')).slice(0, 2500);
}

/** Writes the demo model with every matrix in blocks of this type; what llama.cpp makes of it: tokens, likelihoods, how it goes on. */
export async function readByLlamaCpp(type: BlockTypeName, fileType: FileType): Promise<LlamaCppReading> {
  const directory = await mkdtemp(join(tmpdir(), 'quantloom-llama-cpp-'));
  try {
    const path = join(directory, `${type}.gguf`);
    const source = await openModelDirectory(DEMO_MODEL);
    await writeGgufModel({ source, path, name: 'demo', fileType, typeOf: () => type });
    return await readFileByLlamaCpp(path);
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

/** What llama.cpp makes of a file: tokens of the text, likelihoods, how it goes on. */
export async function readFileByLlamaCpp(path: string, tokens = TOKENS): Promise<LlamaCppReading> {
  const script = join(packageRoot(), 'test', 'support', 'llama-cpp.mjs');
  const input = JSON.stringify({ text: await demoText(), tokens, words: WORDS });
  const output = await new Promise<string>((resolve, reject) => {
    const child = execFile(process.execPath, [script, path], { maxBuffer: 1 << 24 }, (error, stdout) =>
      error ? reject(error) : resolve(stdout),
    );
    child.stdin?.end(input);
  });
  return JSON.parse(output.slice(output.indexOf('{'))) as LlamaCppReading;
}

/** Nats per token by our own evaluation, every matrix as its blocks are decoded. */
export async function ourLikelihood(type: BlockTypeName, tokens: readonly number[]): Promise<number> {
  const options = { tokens: Int32Array.from(tokens), context: tokens.length, threads: 1 };
  return (await perplexity({ checkpoint: await decodedModel(type), ...options })).negativeLogLikelihood;
}

export const mean = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;

async function decodedModel(type: BlockTypeName): Promise<DenseReader> {
  const checkpoint = await openCheckpoint(DEMO_MODEL);
  const float: DenseReader['float'] = async (name) => {
    const tensor = await checkpoint.float(name);
    if (tensor.shape.length === 1) return tensor;
    const columns = tensor.shape[1] as number;
    const blocks = encodeBlocks({ type: BLOCK_TYPES[type], values: tensor.data, columns, name });
    return { shape: tensor.shape, data: decodeBlocks(BLOCK_TYPES[type], blocks) };
  };
  const stored: DenseReader['stored'] = async (name) => {
    const { shape, data } = await float(name);
    return { dtype: 'F32', shape, data: encodeFloats(data, 'F32') };
  };
  return { ...checkpoint, float, stored };
}
