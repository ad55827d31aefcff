import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { encodeDocuments, loadTokenizer, readCalibrationText, sampleSequences } from '../engine/calibration';
import { bytesOf } from '../engine/numbers';
import type { ArtifactRef } from '../engine/spec';
import { viewModel } from './model-view';
import type { ActivityRuntime, Attempt } from './runtime';
import { defineStep, type Effort, perform } from './step';

export interface TokenizedCalibration extends Effort {
  /** I32 `[samples, sequenceLength]`. */
  readonly tokens: ArtifactRef;
  /** SHA-256 of the calibration documents. */
  readonly textSha256: string;
}

interface TokenizeInput {
  /** The text, by its content; `at.file` is the source as the spec names it. */
  readonly text: ArtifactRef;
  readonly tokenizer: ArtifactRef;
  readonly samples: number;
  readonly sequenceLength: number;
  readonly seed: number;
}

const tokenizeStep = defineStep({
  name: 'tokenize-calibration',
  version: 1,
  run: async ({ text, tokenizer, samples, sequenceLength, seed }: TokenizeInput, bench) => {
    const { documents, sha256 } = await readCalibrationText(text.at?.file as string);
    const encoded = await encodeDocuments(await loadTokenizer(tokenizer.at?.file as string), documents);
    const sequences = sampleSequences(encoded, { samples, sequenceLength, seed });
    const shape = [samples, sequenceLength];
    return { tokens: await bench.write('tokens', bytesOf(sequences), { dtype: 'I32', shape }), textSha256: sha256 };
  },
});

/** Draws the calibration sequences from the text. */
export async function tokenizeCalibration(
  input: { plan: ArtifactRef },
  runtime: ActivityRuntime,
  attempt: Attempt,
): Promise<TokenizedCalibration> {
  const { plan } = await viewModel(input.plan, runtime, attempt);
  const { source, samples, sequenceLength, seed } = plan.spec.calibration;
  const { sha256 } = await readCalibrationText(source);
  const text = { kind: 'document', sha256, bytes: 0, at: { file: source, offset: 0 } } as const;
  const tokenizer = await tokenizerRef(plan.directory);
  return perform(tokenizeStep, { text, tokenizer, samples, sequenceLength, seed }, runtime, attempt);
}

/** A model's tokenizer, by the content of the file that defines it; `at.file` is the model's directory. */
export async function tokenizerRef(directory: string): Promise<ArtifactRef> {
  const content = await readFile(join(directory, 'tokenizer.json')).catch(() => new Uint8Array());
  const sha256 = createHash('sha256').update(content).digest('hex');
  return { kind: 'document', sha256, bytes: content.byteLength, at: { file: directory, offset: 0 } };
}
