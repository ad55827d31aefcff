import { readGolden, TINY_MODELS, tinyModelDirectory } from '../../test/tiny-models';
import { openCheckpoint } from '../checkpoints';
import { generate } from './generate';
import { perplexity } from './perplexity';

describe('generate', () => {
  it.each(TINY_MODELS)('continues greedily as transformers does: %s', async (name) => {
    const golden = readGolden(name);
    const seen: number[] = [];
    const tokens = await generate({
      checkpoint: await openCheckpoint(tinyModelDirectory(name)),
      promptTokens: golden.integers('prompt'),
      maxNewTokens: 12,
      temperature: 0,
      seed: 0,
      threads: 1,
      onToken: (token) => seen.push(token),
    });
    expect([...tokens]).toEqual([...golden.integers('generated')]);
    expect(seen).toEqual([...tokens]);
  });

  const base = async () => ({
    checkpoint: await openCheckpoint(tinyModelDirectory('grouped')),
    promptTokens: readGolden('grouped').integers('prompt'),
    maxNewTokens: 16,
    temperature: 2,
    threads: 1,
  });

  it('draws the same tokens for a seed, others for another', async () => {
    const options = await base();
    const [first, again, other] = await Promise.all([1, 1, 2].map((seed) => generate({ ...options, seed })));
    expect(again).toEqual(first);
    expect(other).not.toEqual(first);
  });

  it('ends with the stop token', async () => {
    const options = { ...(await base()), temperature: 0, seed: 0 };
    // The third greedy token.
    const stop = readGolden('grouped').integers('generated')[2] as number;
    expect([...(await generate({ ...options, stopTokens: [stop] }))]).toEqual([94, 94, 55]);
  });

  it('continues a prompt of several chunks with what the whole forward pass finds most likely', async () => {
    const options = { ...(await base()), temperature: 0, seed: 0, maxNewTokens: 3 };
    const promptTokens = readGolden('grouped').integers('long_tokens');
    const tokens = await generate({ ...options, promptTokens });
    const logits = readGolden('grouped').floats('long_logits');
    const last = [...logits.subarray(logits.length - 96)];
    expect(tokens[0]).toBe(last.indexOf(Math.max(...last)));
    // Any other first token is less likely, so that the text with it has the higher loss.
    const loss = async (token: number) => {
      const text = Int32Array.of(...promptTokens, token);
      const { checkpoint } = options;
      return (await perplexity({ checkpoint, tokens: text, context: text.length, threads: 1 })).negativeLogLikelihood;
    };
    expect(await loss(tokens[0] as number)).toBeLessThan(await loss(((tokens[0] as number) + 1) % 96));
  });

  it('refuses an empty prompt, and more tokens than the model has positions', async () => {
    const options = { ...(await base()), seed: 0 };
    await expect(generate({ ...options, promptTokens: new Int32Array(0) })).rejects.toMatchObject({
      code: 'UnsupportedInput',
    });
    await expect(generate({ ...options, maxNewTokens: 1017 })).rejects.toThrow(
      '1025 tokens; the model has 1024 positions',
    );
  });
});
