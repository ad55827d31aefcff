import { writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { encodeDocuments, loadTokenizer, readCalibrationText, sampleSequences } from '../../engine/calibration';
import { readEvaluationText } from '../../engine/evaluation';
import { openModelDirectory, resolveModelDirectory } from '../../engine/sources';
import type { CompareOptions } from './options';

/** Seed that Quantloom draws calibration sequences with. */
export const SEED = 0;

/** What all tools are given. */
export interface Workload {
  readonly options: CompareOptions;
  readonly directory: string;
  /** JSON files for the peers: calibration sequences, and the tokens that perplexity is measured on. */
  readonly sequencesFile: string;
  readonly evaluationFile: string;
  /** What a result must have been measured with to be comparable; names no path. */
  readonly identity: WorkloadIdentity;
}

export interface WorkloadIdentity {
  readonly model: { readonly name: string; readonly layers: number; readonly parameters: number };
  readonly calibration: { readonly sha256: string; readonly samples: number; readonly length: number };
  readonly evaluation: { readonly sha256: string; readonly tokens: number; readonly context: number };
  readonly groupSize: number;
  readonly threads: number;
}

/** Draws the very sequences that Quantloom will calibrate on, so that every tool sees the same tokens. */
export async function prepareWorkload(options: CompareOptions, workDirectory: string): Promise<Workload> {
  const { samples, length, context, maxTokens, groupSize, threads } = options;
  const directory = resolveModelDirectory(options.model);
  const source = await openModelDirectory(directory);
  const tokenizer = await loadTokenizer(directory);
  const calibration = await readCalibrationText(options.text);
  const encoded = await encodeDocuments(tokenizer, calibration.documents);
  const sequences = sampleSequences(encoded, { samples, sequenceLength: length, seed: SEED });
  const evaluation = await readEvaluationText(options.evaluationText);
  const tokens = await encodeDocuments(tokenizer, evaluation.documents, { most: maxTokens });
  const rows = Array.from({ length: samples }, (_, i) => [...sequences.subarray(i * length, (i + 1) * length)]);
  return {
    options,
    directory,
    sequencesFile: writeJson(join(workDirectory, 'sequences.json'), rows),
    evaluationFile: writeJson(join(workDirectory, 'evaluation.json'), [...tokens]),
    identity: {
      model: {
        name: options.name ?? (options.model === 'demo' ? 'demo' : basename(directory)),
        layers: Number(source.config.num_hidden_layers),
        parameters: Object.values(source.tensors).reduce((sum, { shape }) => sum + product(shape), 0),
      },
      calibration: { sha256: calibration.sha256, samples, length },
      evaluation: { sha256: evaluation.sha256, tokens: Math.floor(tokens.length / context) * context, context },
      groupSize,
      threads,
    },
  };
}

function writeJson(file: string, value: unknown): string {
  writeFileSync(file, JSON.stringify(value));
  return file;
}

function product(shape: readonly number[]): number {
  return shape.reduce((all, size) => all * size, 1);
}
