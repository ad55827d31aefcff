import { loadTokenizer } from '../../engine/calibration/load-tokenizer';
import { openCheckpoint } from '../../engine/checkpoints';
import { generate } from '../../engine/evaluation';
import { DEMO_MODEL, demoText, mean, ourLikelihood, readByLlamaCpp, TOKENS, WORDS } from '../support/read-by-llama-cpp';

// Every other block type: test/peers/llama-cpp-types.test.ts.
test('llama.cpp reads our F16 file: the same tokens, likelihoods and text as ours', async () => {
  const found = await readByLlamaCpp('F16', 'F16');
  const tokens = await (await loadTokenizer(DEMO_MODEL)).encode(await demoText());
  expect(found.tokens).toEqual([...tokens.slice(0, TOKENS)]);
  const difference = mean(found.negativeLogLikelihoods) - (await ourLikelihood('F16', found.tokens));
  expect(Math.abs(difference)).toBeLessThan(5e-4);

  const checkpoint = await openCheckpoint(DEMO_MODEL);
  const promptTokens = Int32Array.from(found.tokens.slice(0, 8));
  const words = await generate({ checkpoint, promptTokens, maxNewTokens: WORDS, seed: 1, temperature: 0, threads: 1 });
  expect(found.generated).toEqual([...words]);
});
