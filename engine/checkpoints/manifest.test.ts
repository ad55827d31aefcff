import { type BlockReport, parseQuantizationSpec } from '../spec';
import { createManifest, type ManifestInput } from './create-manifest';
import { parseManifest, serializeManifest } from './manifest';

const SHA = 'ab'.repeat(32);

function report(index: number, run: Partial<BlockReport>): BlockReport {
  return {
    index,
    name: `model.layers.${index}`,
    linears: [
      {
        name: `model.layers.${index}.mlp.up_proj`,
        rows: 64,
        columns: 64,
        recipe: null,
        relativeError: 0.01,
        relativeWeightError: 0.02,
        relativeErrorBeforeRefinement: null,
        rung: 'more-damping',
        damping: 0.1,
        deadColumns: 3,
      },
    ],
    calibrationTokens: 100,
    nonFiniteSequences: 0,
    seconds: { solve: 1 },
    computed: 4,
    cached: 0,
    skipped: false,
    ...run,
  };
}

function input(fields: Partial<ManifestInput> = {}): ManifestInput {
  return {
    quantloom: '0.1.0',
    format: 'gptq',
    layout: 'gptq',
    source: {
      architecture: 'llama',
      configSha256: SHA,
      files: [
        { name: 'b.safetensors', bytes: 2, sha256: SHA },
        { name: 'a.safetensors', bytes: 1, sha256: SHA },
      ],
    },
    spec: parseQuantizationSpec({
      model: '/home/me/models/tiny',
      output: '/scratch/out',
      calibration: { source: '/home/me/text.txt' },
      evaluation: { text: '/home/me/held-out.txt' },
    }),
    linears: {},
    calibration: { sourceSha256: SHA, tokensSha256: SHA, samples: 4, sequenceLength: 16, seed: 0 },
    reports: [report(1, {}), report(0, {})],
    bitsPerWeight: 4.5,
    perplexity: { original: 10.5, quantized: 11.25, textSha256: SHA, context: 512, scoredTokens: 1000 },
    versions: { node: 'v20.19.0' },
    files: [{ name: 'config.json', bytes: 3, sha256: SHA }],
    run: { job: 'job-1', started: '2026-01-01T00:00:00Z', seconds: 9, computed: 8, cached: 0 },
    ...fields,
  };
}

it('comes back from its text', () => {
  const manifest = createManifest(input());
  expect(parseManifest(serializeManifest(manifest))).toEqual(manifest);
});

it('holds no path of the machine that wrote it', () => {
  const text = serializeManifest(createManifest(input()));
  expect(text).not.toMatch(/\/home|\/scratch/);
  expect(JSON.parse(text)).toMatchObject({
    source: { name: 'tiny' },
    spec: { calibration: { source: 'text.txt' }, evaluation: { text: 'held-out.txt' } },
  });
});

it('differs between two runs over the same inputs in `run` only', () => {
  const first = createManifest(input());
  const second = createManifest(
    input({
      reports: [report(0, { seconds: {}, computed: 0, cached: 4 }), report(1, { seconds: { solve: 7 } })],
      run: { job: null, started: '2026-02-02T00:00:00Z', seconds: 1, computed: 0, cached: 8 },
      spec: { ...input().spec, output: '/elsewhere', concurrency: 2 },
    }),
  );
  expect(second.run).not.toEqual(first.run);
  expect({ ...second, run: null }).toEqual({ ...first, run: null });
  // `run` is last, so that the texts can be compared up to it.
  const upToRun = (text: string) => text.slice(0, text.indexOf('"run"'));
  expect(upToRun(serializeManifest(second))).toBe(upToRun(serializeManifest(first)));
});

it.each([
  ['{', 'is not JSON'],
  ['{"manifestVersion": 2}', 'has manifestVersion 2; this program reads 1'],
  [serializeManifest(createManifest(input())).replace(SHA, 'xyz'), 'source.configSha256'],
])('is refused when it is %#', (text, message) => {
  expect(() => parseManifest(text)).toThrow(message);
});
