import { readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { packageRoot } from '../../engine/sources';
import { Interrupted, runMeasured } from '../measure/run-measured';
import { type PeersPython, peersEnvironment } from './peer-tools';
import type { Readers } from './tool';
import type { Workload } from './workload';

/** Perplexity of one checkpoint on text that calibration did not see. Null: nobody here could read it. */
export interface MeasuredPerplexity {
  /** Quantloom's evaluator; formats that it does not read are first dequantized by their owner. */
  readonly quantloom: number | null;
  /** The weights as the format's owner dequantizes them, multiplied by torch in float32. */
  readonly owner: number | null;
  readonly ownerName: string | null;
}

const MAIN = join(packageRoot(), 'dist', 'cli', 'main.js');
const OWNER_SCRIPT = join(packageRoot(), 'test', 'peers', 'perplexity.py');

/**
 * Asks every reader; one that fails is told, and its answer is null.
 *
 * @param scratch where a dequantized copy may lie for a while.
 */
export async function measurePerplexity(
  checkpoint: string,
  readers: Readers,
  workload: Workload,
  { python, scratch, note }: { python: PeersPython | null; scratch: string; note: (line: string) => void },
): Promise<MeasuredPerplexity> {
  const answerOf = async (reader: string, answer: Promise<number | null>): Promise<number | null> => {
    try {
      return await answer;
    } catch (error) {
      if (error instanceof Interrupted) throw error;
      note(`  ${reader} cannot read it: ${(error as Error).message}`);
      return null;
    }
  };
  const dense = readers.quantloom || python === null ? null : join(scratch, 'dense');
  const owner =
    python &&
    (await answerOf(readers.owner, readByOwner(checkpoint, readers.owner, workload, { python, scratch, dense })));
  const readable = readers.quantloom ? checkpoint : owner === null ? null : dense;
  try {
    return {
      quantloom: readable === null ? null : await answerOf('Quantloom', readByQuantloom(readable, workload, scratch)),
      owner,
      ownerName: owner === null ? null : readers.owner,
    };
  } finally {
    if (dense !== null) rmSync(dense, { recursive: true, force: true });
  }
}

async function readByQuantloom(directory: string, { options }: Workload, scratch: string): Promise<number> {
  const words = [MAIN, 'evaluate', directory, '--json', '--text', options.evaluationText];
  words.push('--context', String(options.context), '--max-tokens', String(options.maxTokens));
  const stdout = await outputOf(process.execPath, words, process.env, scratch);
  return (JSON.parse(stdout) as { perplexity: number }).perplexity;
}

/** Null when that library is not installed. */
async function readByOwner(
  directory: string,
  owner: Readers['owner'],
  { options, evaluationFile }: Workload,
  { python, scratch, dense }: { python: PeersPython; scratch: string; dense: string | null },
): Promise<number | null> {
  const { executable, versions } = python;
  if (!versions[owner] || !versions.torch) return null;
  const words = [OWNER_SCRIPT, directory, evaluationFile, String(options.context), String(options.maxTokens), owner];
  if (dense !== null) words.push(dense);
  const environment = { ...peersEnvironment(options.threads), THREADS: String(options.threads) };
  const stdout = await outputOf(executable, words, environment, scratch);
  return (JSON.parse(stdout.trim().split('\n').at(-1) as string) as { perplexity: number }).perplexity;
}

async function outputOf(
  command: string,
  args: readonly string[],
  environment: Readonly<Record<string, string | undefined>>,
  scratch: string,
): Promise<string> {
  const files = { stdout: join(scratch, 'evaluation.stdout'), stderr: join(scratch, 'evaluation.stderr') };
  await runMeasured({ command, args, environment, workingDirectory: scratch, ...files });
  return readFileSync(files.stdout, 'utf8');
}
