import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { AutoModelForCausalLM, AutoTokenizer, env } from '@huggingface/transformers';
import type { QuantizationSpecInput } from '../../engine/spec';
import { runInBrowser } from '../support/in-browser';

// Compiled: its loops run in worker threads then.
const { quantizeDirect } = require('../../dist/engine') as typeof import('../../engine');

const BROWSER = process.env.QUANTLOOM_PEERS_CHROMIUM;
if (!BROWSER) throw new Error('Name a Chromium in QUANTLOOM_PEERS_CHROMIUM');
const MODEL = process.env.QUANTLOOM_PEERS_MODEL ?? 'demo';
const PROMPT = 'The old man went to the sea and';
const NEW_TOKENS = 32;
const MODULES = join(__dirname, '..', '..', 'node_modules');

describe('ONNX directories in a browser', () => {
  let directory: string;

  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), 'quantloom-peers-'));
    env.allowRemoteModels = false;
    env.localModelPath = directory;
  });

  afterAll(() => rm(directory, { recursive: true, force: true }));

  const cases: [string, Partial<QuantizationSpecInput>][] = [
    ['4 bit', { recipe: { bits: 4, groupSize: 64 } }],
    ['2 bit', { recipe: { bits: 2, groupSize: 32, symmetric: false } }],
    ['8 bit in rows', { recipe: { bits: 8, groupSize: -1 } }],
    [
      '3 bit asymmetric in dynamic act-order',
      { recipe: { bits: 3, groupSize: 32, symmetric: false, actOrder: 'dynamic' } },
    ],
  ];

  it.each(cases)(
    '%s: transformers.js continues as it does in Node',
    async (name, changes) => {
      const id = name.replaceAll(/\W+/g, '-');
      const calibration = { source: 'demo', samples: 16, sequenceLength: 256 };
      await quantizeDirect({ model: MODEL, output: join(directory, id), formats: ['onnx'], calibration, ...changes });

      const inputs = (await AutoTokenizer.from_pretrained(id))(PROMPT);
      const model = await AutoModelForCausalLM.from_pretrained(id);
      const tokens = await model.generate({ ...inputs, max_new_tokens: NEW_TOKENS, do_sample: false });
      await model.dispose();
      const expected = (tokens as { tolist(): bigint[][] }).tolist()[0]?.map(Number);

      const found = await runInBrowser({
        browser: BROWSER as string,
        html: page(id),
        directories: {
          models: directory,
          transformers: join(dirname(require.resolve('@huggingface/transformers')), '..', 'dist'),
          runtime: join(MODULES, 'onnxruntime-web', 'dist'),
          common: join(MODULES, 'onnxruntime-common', 'dist', 'esm'),
        },
        patience: 120_000,
      });
      expect(found).toEqual({ tokens: expected, isolated: 'object' });
      expect(expected?.length).toBeGreaterThan(NEW_TOKENS);
    },
    300_000,
  );
});

/** Loads the model as a web page does, with nothing from elsewhere. */
function page(id: string): string {
  const imports = {
    'onnxruntime-common': '/common/index.js',
    'onnxruntime-web/webgpu': '/runtime/ort.webgpu.bundle.min.mjs',
    '@huggingface/transformers': '/transformers/transformers.web.js',
  };
  return `<!doctype html><script type="importmap">${JSON.stringify({ imports })}</script><script type="module">
    const post = (result) => fetch('/result', { method: 'POST', body: JSON.stringify(result) });
    try {
      const { AutoModelForCausalLM, AutoTokenizer, env } = await import('@huggingface/transformers');
      Object.assign(env, { allowRemoteModels: false, allowLocalModels: true, localModelPath: '/models/', useBrowserCache: false });
      Object.assign(env.backends.onnx.wasm, { wasmPaths: '/runtime/', numThreads: 1 });
      const inputs = (await AutoTokenizer.from_pretrained('${id}'))(${JSON.stringify(PROMPT)});
      const model = await AutoModelForCausalLM.from_pretrained('${id}');
      const tokens = await model.generate({ ...inputs, max_new_tokens: ${NEW_TOKENS}, do_sample: false });
      await post({ tokens: tokens.tolist()[0].map(Number), isolated: typeof window });
    } catch (error) {
      await post({ error: String(error?.stack ?? error) });
    }
  </script>`;
}
