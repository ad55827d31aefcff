import { encodeDocuments, loadTokenizer } from '../engine/calibration';
import { CPU } from '../engine/devices';
import { readEvaluationText } from '../engine/evaluation';
import { type ArtifactRef, QuantloomError } from '../engine/spec';
import { tensorThreads } from '../engine/tensor-thread';
import { localCheckpoint, type StagedCheckpoint } from './local-checkpoint';
import { viewModel } from './model-view';
import type { ActivityRuntime, Attempt } from './runtime';
import { deviceWithin } from './smaller-batch';
import { defineStep, type Effort, perform } from './step';
import { tokenizerRef } from './tokenize-calibration';

export interface Evaluated extends Effort {
  readonly perplexity: number;
  /** Tokens that were scored. */
  readonly tokens: number;
  readonly textSha256: string;
}

interface EvaluateInput {
  /** By its weights; `at.file` is its directory. */
  readonly checkpoint: ArtifactRef;
  readonly text: ArtifactRef;
  readonly tokenizer: ArtifactRef;
  readonly context: number;
  readonly maxTokens: number;
}

const evaluateStep = defineStep({
  name: 'evaluate',
  version: 1,
  run: async ({ checkpoint, text, tokenizer, context, maxTokens }: EvaluateInput, bench) => {
    const { documents, sha256 } = await readEvaluationText(text.at?.file as string);
    const encoded = await encodeDocuments(await loadTokenizer(tokenizer.at?.file as string), documents, {
      most: maxTokens,
    });
    const result = await tensorThreads().measurePerplexity(
      {
        directory: checkpoint.at?.file as string,
        tokens: encoded,
        context,
        threads: bench.runtime.threads,
        device: deviceWithin(bench.runtime.device ?? CPU, bench.attempt.batch),
      },
      bench.attempt.signal,
    );
    return { perplexity: result.perplexity, tokens: result.tokens, textSha256: sha256 };
  },
});

/** Perplexity of a checkpoint on the text that the spec names. */
export async function evaluate(
  input: {
    plan: ArtifactRef;
    checkpoint: ArtifactRef;
    /** Where the checkpoint is not at a place that all workers see. */
    staged?: StagedCheckpoint;
  },
  runtime: ActivityRuntime,
  attempt: Attempt,
): Promise<Evaluated> {
  const { plan } = await viewModel(input.plan, runtime, attempt);
  const { evaluation } = plan.spec;
  if (!evaluation) throw new QuantloomError('InvalidSpecification', 'evaluation: the spec asks for none');
  const { sha256 } = await readEvaluationText(evaluation.text);
  const text = { kind: 'document', sha256, bytes: 0, at: { file: evaluation.text, offset: 0 } } as const;
  const { context, maxTokens } = evaluation;
  const tokenizer = await tokenizerRef(plan.directory);
  const directory = input.staged && (await localCheckpoint(input.staged, runtime, attempt));
  const checkpoint = { ...input.checkpoint, ...(directory && { at: { file: directory, offset: 0 } }) };
  return perform(evaluateStep, { checkpoint, text, tokenizer, context, maxTokens }, runtime, attempt);
}
