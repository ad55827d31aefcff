import { execFile } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { generalMetadata, ggufArchitectureOf, tokenizerMetadata, writeGguf } from '../../engine/checkpoints/gguf';
import fixture from '../../engine/checkpoints/gguf/tokenizer/fixtures/sentence-piece.json';
import { packageRoot } from '../../engine/sources';

// The fixture is made by test/oracles/gguf_tokenizer.py.
const SHAPE = {
  layers: 1,
  hiddenSize: 32,
  intermediateSize: 64,
  heads: 4,
  keyValueHeads: 4,
  headSize: 8,
  vocabularySize: 330,
  maxPositions: 64,
  normEpsilon: 1e-5,
  rotary: { theta: 10000, llama3: null },
  tiedHead: true,
};

test("llama.cpp makes the tokens of tokenizer.json from a SentencePiece tokenizer's scores", async () => {
  const directory = await mkdtemp(join(tmpdir(), 'quantloom-llama-tokenizer-'));
  try {
    const path = join(directory, 'vocabulary.gguf');
    const tokenizer = tokenizerMetadata({
      tokenizer: fixture.tokenizer,
      tokenizerConfig: { bos_token: '<s>', eos_token: '</s>', unk_token: '<unk>' },
      modelConfig: {},
      vocabularySize: SHAPE.vocabularySize,
    });
    expect(tokenizer.get('tokenizer.ggml.add_bos_token')).toEqual({ type: 'bool', value: true });
    expect(tokenizer.get('tokenizer.ggml.add_space_prefix')).toEqual({ type: 'bool', value: true });
    const metadata = new Map([
      ...generalMetadata({ architecture: 'llama', name: 'vocabulary', fileType: 'F32' }),
      ...ggufArchitectureOf('llama').metadata(SHAPE, {}),
      ...tokenizer,
    ]);
    await writeGguf({ path, metadata, tensors: [], read: () => [] });
    const found = await tokensByLlamaCpp(path, Object.keys(fixture.encoded));
    // transformers put <s> first; node-llama-cpp leaves that to its caller.
    expect(found).toEqual(Object.values(fixture.encoded).map(([first, ...rest]) => (first === 1 ? rest : [])));
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
});

function tokensByLlamaCpp(path: string, texts: readonly string[]): Promise<number[][]> {
  const script = join(packageRoot(), 'test', 'support', 'llama-tokenize.mjs');
  return new Promise((resolve, reject) => {
    const child = execFile(process.execPath, [script, path], (error, stdout) =>
      error ? reject(error) : resolve(JSON.parse(stdout.slice(stdout.indexOf('[[')))),
    );
    child.stdin?.end(JSON.stringify(texts));
  });
}
