import { availableParallelism } from 'node:os';
import { resolve } from 'node:path';
import { parseArgs } from 'node:util';

export const TOOL_NAMES = ['quantloom', 'direct', 'gptqmodel', 'llmcompressor', 'autoround'] as const;
export type ToolName = (typeof TOOL_NAMES)[number];

/** What Quantloom does unasked. */
export const DEFAULT_QUALITY = 'balanced';

/** Bits per code, symmetric unless it ends with `-asym`: `4`, `2-asym`. */
export interface Width {
  readonly name: string;
  readonly bits: number;
  readonly symmetric: boolean;
}

export interface CompareOptions {
  /** Directory, or `demo`. */
  readonly model: string;
  /** What results call it; null: as its directory. */
  readonly name: string | null;
  /** Calibration text: a file, or `demo`. */
  readonly text: string;
  /** What perplexity is measured on: a file, or `demo`. */
  readonly evaluationText: string;
  readonly widths: readonly Width[];
  readonly groupSize: number;
  readonly samples: number;
  /** Tokens per sample. */
  readonly length: number;
  /** Tokens per window of the evaluation, and bound on all of them. */
  readonly context: number;
  readonly maxTokens: number;
  readonly rounds: number;
  readonly tools: readonly ToolName[];
  /** Of Quantloom, each as a tool of its own. */
  readonly qualities: readonly string[];
  /** Of auto-round. */
  readonly iterations: number;
  readonly threads: number;
  /** Results are kept here; a run that was interrupted goes on from it. */
  readonly json: string | null;
  /** Print where Quantloom's time went. */
  readonly split: boolean;
}

export const HELP = `usage: npm run bench -- [flags]

  --model DIR          model directory, or demo (default)
  --name NAME          what results call the model (default: its directory's name)
  --text FILE          calibration text (default: demo)
  --eval-text FILE     text to measure perplexity on (default: demo)
  --bits LIST          e.g. 4,3,2-asym (default 4)
  --group-size N       default 64
  --samples N          calibration samples (default 64)
  --length TOKENS      per sample (default 512)
  --context TOKENS     per window of the evaluation (default 512)
  --max-tokens N       bound on the tokens evaluated (default 16384)
  --rounds N           every tool runs so often, in turns (default 1)
  --tools LIST         of ${TOOL_NAMES.join(', ')} (default: all but autoround, which takes long, and
                       direct, Quantloom's engine in one process without Temporal and store)
  --quality LIST       of Quantloom: fast, balanced (default), best; each is a row of its own
  --iterations N       of auto-round (default 200)
  --threads N          default: all
  --json FILE          keep results here, and go on from there
  --split              print where Quantloom's time went

The peers run in the Python that QUANTLOOM_PEERS_PYTHON names; without it they are left out.`;

/** @throws Error that names the flag. */
export function parseCompareOptions(args: readonly string[]): CompareOptions | 'help' {
  const { values } = parseArgs({
    args: [...args],
    options: {
      model: { type: 'string', default: 'demo' },
      name: { type: 'string' },
      text: { type: 'string', default: 'demo' },
      'eval-text': { type: 'string', default: 'demo' },
      bits: { type: 'string', default: '4' },
      'group-size': { type: 'string', default: '64' },
      samples: { type: 'string', default: '64' },
      length: { type: 'string', default: '512' },
      context: { type: 'string', default: '512' },
      'max-tokens': { type: 'string', default: '16384' },
      rounds: { type: 'string', default: '1' },
      tools: { type: 'string', default: 'quantloom,gptqmodel,llmcompressor' },
      quality: { type: 'string', default: DEFAULT_QUALITY },
      iterations: { type: 'string', default: '200' },
      threads: { type: 'string', default: String(availableParallelism()) },
      json: { type: 'string' },
      split: { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  });
  if (values.help) return 'help';
  const count = (name: 'samples' | 'length' | 'context' | 'max-tokens' | 'rounds' | 'iterations' | 'threads') => {
    const number = Number(values[name]);
    if (Number.isInteger(number) && number >= 1) return number;
    throw new Error(`--${name} is "${values[name]}"; it must be a whole number of at least 1`);
  };
  return {
    model: pathOrDemo(values.model),
    name: values.name ?? null,
    text: pathOrDemo(values.text),
    evaluationText: pathOrDemo(values['eval-text']),
    widths: values.bits.split(',').map(parseWidth),
    groupSize: Number(values['group-size']),
    samples: count('samples'),
    length: count('length'),
    context: count('context'),
    maxTokens: count('max-tokens'),
    rounds: count('rounds'),
    tools: values.tools.split(',').map(parseTool),
    qualities: values.quality.split(','),
    iterations: count('iterations'),
    threads: count('threads'),
    json: values.json === undefined ? null : resolve(values.json),
    split: values.split,
  };
}

function parseWidth(name: string): Width {
  const [, bits, asymmetric] = /^([2-8])(-asym)?$/.exec(name) ?? [];
  if (bits === undefined) throw new Error(`--bits has "${name}"; a width is 2 to 8, or asymmetric as in 2-asym`);
  return { name, bits: Number(bits), symmetric: asymmetric === undefined };
}

function parseTool(name: string): ToolName {
  const tool = TOOL_NAMES.find((known) => known === name);
  if (tool === undefined) throw new Error(`--tools has "${name}"; known are ${TOOL_NAMES.join(', ')}`);
  return tool;
}

function pathOrDemo(value: string): string {
  return value === 'demo' ? value : resolve(value);
}
