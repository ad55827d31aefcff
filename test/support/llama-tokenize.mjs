/**
 * Reads the vocabulary of a GGUF file with llama.cpp, in a process of its own.
 *
 * usage: node llama-tokenize.mjs FILE < JSON list of texts
 *
 * Prints a list with the tokens of each text, special tokens in it recognized, none added.
 */
import { readFileSync } from 'node:fs';
import { getLlama, LlamaLogLevel } from 'node-llama-cpp';

const texts = JSON.parse(readFileSync(0, 'utf8'));
const llama = await getLlama({ gpu: false, build: 'never', logLevel: LlamaLogLevel.error });
const model = await llama.loadModel({ modelPath: process.argv[2], vocabOnly: true });
const tokens = texts.map((text) => model.tokenize(text, true));
process.stdout.write(`${JSON.stringify(tokens)}\n`, () => process.exit(0));
