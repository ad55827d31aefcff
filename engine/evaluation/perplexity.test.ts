import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { readGolden, TINY_MODELS, tinyModelDirectory } from '../../test/tiny-models';
import { loadTokenizer } from '../calibration';
import { openCheckpoint } from '../checkpoints';
import { perplexity } from './perplexity';

const DEMO_MODEL = join(__dirname, '../../assets/demo-model');

/** Mean of -log softmax(logits)[next token] over windows of `context` tokens, in float64. */
function lossOf(logits: Float32Array, tokens: Int32Array, context: number): number {
  const vocabulary = logits.length / tokens.length;
  const losses = [...tokens.keys()].flatMap((i) => {
    if (i % context === context - 1) return [];
    const row = [...logits.subarray(i * vocabulary, (i + 1) * vocabulary)];
    return [Math.log(row.reduce((sum, z) => sum + Math.exp(z), 0)) - (row[tokens[i + 1] as number] as number)];
  });
  return losses.reduce((sum, loss) => sum + loss, 0) / losses.length;
}

describe('perplexity', () => {
  it.each(TINY_MODELS)("is that of transformers' logits: %s", async (name) => {
    const golden = readGolden(name);
    const tokens = golden.integers('tokens');
    const expected = lossOf(golden.floats('logits'), tokens, 24);
    const checkpoint = await openCheckpoint(tinyModelDirectory(name));
    const found = await perplexity({ checkpoint, tokens, context: 24, threads: 2 });
    expect(found.tokens).toBe(46);
    expect(Math.abs(found.negativeLogLikelihood - expected)).toBeLessThan(1e-5);
    expect(found.perplexity).toBeCloseTo(Math.exp(found.negativeLogLikelihood), 9);
  });

  it('of the demo model on its held-out text is what its README says', async () => {
    const tokenizer = await loadTokenizer(DEMO_MODEL);
    const tokens = await tokenizer.encode(await readFile(join(DEMO_MODEL, 'held-out.txt'), 'utf8'));
    const fractions: number[] = [];
    const found = await perplexity({
      checkpoint: await openCheckpoint(DEMO_MODEL),
      tokens: tokens.subarray(0, 16384),
      context: 256,
      threads: 2,
      onProgress: (fraction) => fractions.push(fraction),
    });
    expect(found.perplexity.toFixed(2)).toBe('28.86');
    expect(found.tokens).toBe(64 * 255);
    expect(fractions.at(-1)).toBe(1);
    expect(fractions).toEqual([...fractions].sort((a, b) => a - b));
  }, 120_000);

  it('does not depend on how many windows fit into memory, and drops a last partial window', async () => {
    const checkpoint = await openCheckpoint(tinyModelDirectory('plain'));
    const tokens = readGolden('plain').integers('long_tokens');
    const whole = await perplexity({ checkpoint, tokens, context: 64, threads: 1 });
    const passes = await perplexity({ checkpoint, tokens, context: 64, threads: 1, activationBytes: 100_000 });
    const trimmed = await perplexity({ checkpoint, tokens: tokens.subarray(0, 576), context: 64, threads: 1 });
    expect(passes).toEqual(whole);
    expect(trimmed).toEqual(whole);
    expect(whole.tokens).toBe(9 * 63);
  });

  it('refuses a text that is shorter than one window', async () => {
    const checkpoint = await openCheckpoint(tinyModelDirectory('plain'));
    await expect(perplexity({ checkpoint, tokens: new Int32Array(10), context: 11, threads: 1 })).rejects.toMatchObject(
      {
        code: 'InvalidText',
        message: expect.stringContaining('has 10 tokens'),
      },
    );
  });

  it('names the stage in which activations stop being finite', async () => {
    const checkpoint = await openCheckpoint(tinyModelDirectory('plain'));
    const broken = {
      config: checkpoint.config,
      has: (name: string) => checkpoint.has(name),
      stored: (name: string) => checkpoint.stored(name),
      float: async (name: string) => {
        const tensor = await checkpoint.float(name);
        if (name === 'model.layers.1.mlp.up_proj.weight') tensor.data[5] = Number.NaN;
        return tensor;
      },
    };
    const tokens = readGolden('plain').integers('tokens');
    await expect(perplexity({ checkpoint: broken, tokens, context: 24, threads: 1 })).rejects.toMatchObject({
      code: 'InvalidModel',
      message: expect.stringContaining('model.layers.1, stage "mlp"'),
    });
  });

  it('refuses windows that are longer than the model has positions', async () => {
    const checkpoint = await openCheckpoint(tinyModelDirectory('gpt2-bare'));
    const tokens = new Int32Array(65);
    await expect(perplexity({ checkpoint, tokens, context: 65, threads: 1 })).rejects.toMatchObject({
      code: 'UnsupportedInput',
      message: expect.stringContaining(
        '65 tokens are more than the 64 that a sequence of this model can have here (config.json: n_positions)',
      ),
    });
  });

  it('stops when it is aborted', async () => {
    const checkpoint = await openCheckpoint(tinyModelDirectory('plain'));
    const tokens = readGolden('plain').integers('tokens');
    const signal = AbortSignal.abort(new Error('enough'));
    await expect(perplexity({ checkpoint, tokens, context: 24, threads: 1, signal })).rejects.toThrow('enough');
  });
});
