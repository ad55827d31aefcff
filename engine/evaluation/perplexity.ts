import { CPU, type Device } from '../devices/device';
import { createLossRunner, feedForwardFeatures } from '../graphs';
import { refuseLongSequences } from '../models';
import { QuantloomError } from '../spec';
import { denseModel, headTensor, readHead } from './dense-model';
import type { DenseReader } from './dense-reader';
import { hiddenStates } from './hidden-states';

export interface PerplexityOptions {
  readonly checkpoint: DenseReader;
  readonly tokens: Int32Array;
  /** Tokens per window. Windows do not overlap; a last partial one is dropped. */
  readonly context: number;
  readonly threads: number;
  /** Default: the CPU. */
  readonly device?: Device;
  readonly signal?: AbortSignal;
  /** 0 to 1. */
  readonly onProgress?: (fraction: number) => void;
  /** Bound on the activations of the windows of a pass; each pass reads the weights anew. Default 64 MiB. */
  readonly activationBytes?: number;
}

export interface Perplexity {
  /** exp of the mean negative log-likelihood. */
  readonly perplexity: number;
  /** Nats per scored token. */
  readonly negativeLogLikelihood: number;
  /** Scored tokens: all of each window but its first. */
  readonly tokens: number;
}

const DEFAULT_ACTIVATION_BYTES = 64 * 2 ** 20;
const FLOAT_BYTES = 4;

/**
 * Perplexity of a text under a model, exp(-1/N Σ log p(token | those before it in its window)); the sum is taken in float64.
 *
 * @throws QuantloomError InvalidText when the text is shorter than one window; UnsupportedInput for a context that is longer than the model
 * takes; InvalidModel, UnsupportedArchitecture.
 */
export async function perplexity(options: PerplexityOptions): Promise<Perplexity> {
  const { checkpoint, context, threads, signal, device = CPU } = options;
  const { executionProviders } = device;
  const windows = Math.floor(options.tokens.length / context);
  if (windows === 0 || context < 2) {
    throw new QuantloomError(
      'InvalidText',
      `The text has ${options.tokens.length} tokens; perplexity needs at least one window of ${context} tokens, and windows of at least 2. Use a longer text or a smaller context.`,
      { details: { tokens: options.tokens.length, context } },
    );
  }
  const model = denseModel(checkpoint);
  refuseLongSequences(model.shape, context, 'Context');
  const { hiddenSize } = model.shape;
  // Incoming and outgoing hidden states, and the widest activation beside them.
  const bytesPerWindow =
    (2 * hiddenSize + Math.max(hiddenSize, feedForwardFeatures(model.shape))) * context * FLOAT_BYTES;
  const windowsPerPass = Math.max(
    1,
    Math.floor((options.activationBytes ?? DEFAULT_ACTIVATION_BYTES) / bytesPerWindow),
  );
  const blocks = model.blocks.length;

  let total = 0;
  for (let first = 0; first < windows; first += windowsPerPass) {
    const end = Math.min(windows, first + windowsPerPass);
    const tokens = options.tokens.subarray(first * context, end * context);
    const onBlock = (done: number) => options.onProgress?.((first + ((end - first) * done) / (blocks + 1)) / windows);
    const { data: hidden } = await hiddenStates({ model, tokens, context, threads, device, signal, onBlock });
    // Read late and again in every pass, so that head and layers are never in memory together.
    const weight = await checkpoint.stored(headTensor(model));
    const runner = { shape: model.shape, threads, executionProviders };
    const head = createLossRunner({ ...runner, weight, ...(await readHead(model)) });
    // The last token of a window has nothing to predict; it goes along with any target so that rows stay contiguous.
    const targets = tokens.map((_, i) => tokens[i + 1] ?? 0);
    const losses = await head.negativeLogLikelihoods(hidden, targets, signal);
    losses.forEach((loss, i) => {
      if (i % context !== context - 1) total += loss;
    });
    options.onProgress?.(end / windows);
  }
  const scored = windows * (context - 1);
  return { perplexity: Math.exp(total / scored), negativeLogLikelihood: total / scored, tokens: scored };
}
