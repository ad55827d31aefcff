/**
 * Reads a GGUF file with llama.cpp, in a process of its own.
 *
 * usage: node llama-cpp.mjs FILE < {"text": string, "tokens": number, "words": number}
 *
 * Prints {"tokens": number[], "negativeLogLikelihoods": number[], "generated": number[]}: the first `tokens` tokens of the text; for
 * each but the first -log p given those before it; and `words` tokens after the first eight, each the likeliest.
 */
import { readFileSync } from 'node:fs';
import { getLlama, LlamaLogLevel } from 'node-llama-cpp';

const { text, tokens: most, words } = JSON.parse(readFileSync(0, 'utf8'));
const llama = await getLlama({ gpu: false, build: 'never', maxThreads: 2, logLevel: LlamaLogLevel.error });
const model = await llama.loadModel({ modelPath: process.argv[2] });
// Keys and values in float32, so that what differs is the model.
const cache = { experimentalKvCacheKeyType: 'F32', experimentalKvCacheValueType: 'F32' };
const context = await model.createContext({ contextSize: most + words, flashAttention: false, ...cache });
const tokens = model.tokenize(text).slice(0, most);

const sequence = context.getSequence();
const steps = await sequence.controlledEvaluate(
  tokens.map((token) => [
    token,
    { generateNext: { probabilities: true, options: { temperature: 1, topK: 0, topP: 1, minP: 0 } } },
  ]),
);
const negativeLogLikelihoods = tokens.slice(1).map((token, i) => -Math.log(steps[i].next.probabilities.get(token)));

await sequence.clearHistory();
const generated = [];
for await (const token of sequence.evaluate(tokens.slice(0, 8), { temperature: 0 })) {
  generated.push(token);
  if (generated.length === words) break;
}
process.stdout.write(`${JSON.stringify({ tokens, negativeLogLikelihoods, generated })}\n`, () => process.exit(0));
