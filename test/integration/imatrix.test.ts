import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseManifest, verifyCheckpoint } from '../../engine/checkpoints';
import type { QuantizationSpecInput } from '../../engine/spec';
import { runCli } from '../support/run-cli';
import { shortDemo } from '../support/short-demo';
import { tinyModelDirectory } from '../tiny-models';

// Compiled: its loops run in worker threads then.
const { quantizeDirect } = require('../../dist/engine') as typeof import('../../engine');

describe('an importance matrix', () => {
  let root: string;
  let demo: string;

  beforeAll(async () => {
    root = await mkdtemp(join(tmpdir(), 'quantloom-imatrix-'));
    demo = await shortDemo(root);
  });

  afterAll(() => rm(root, { recursive: true, force: true, maxRetries: 5 }));

  const place = () => ({ home: join(root, 'home'), workingDirectory: root });
  const sizes = ['--samples', '8', '--sequence-length', '64', '--slice-tokens', '128'];
  const calibration = { source: 'demo', samples: 8, sequenceLength: 64, sliceTokens: 128 } as const;

  it.each([
    ['demo', undefined],
    ['a mixture of experts', tinyModelDirectory('qwen2moe-shared')],
  ])(
    'of a job has the bytes that the engine alone writes (%s)',
    async (name, other) => {
      const model = other ?? demo;
      const out = `${name.replaceAll(' ', '-')}.gguf`;
      const { code, stdout, stderr } = await runCli(['imatrix', model, ...sizes, '--out', out, '--json'], place());
      expect({ code, stderr: code === 0 ? '' : stderr }).toEqual({ code: 0, stderr: '' });
      const path = join(root, out);
      expect(JSON.parse(stdout)).toMatchObject({ state: 'done', outputs: { imatrix: path } });
      const spec: QuantizationSpecInput = {
        model,
        output: join(root, `direct-${out}`),
        calibration,
        importanceOnly: true,
      };
      const { imatrix } = await quantizeDirect(spec);
      expect(Buffer.compare(await readFile(path), await readFile(imatrix as string))).toBe(0);
      // Nothing is left beside it.
      expect((await readdir(root)).filter((file) => file.startsWith('.'))).toEqual([]);
    },
    300_000,
  );

  it('takes the place of calibration, with the same bytes', async () => {
    const mix = ['--method', 'kquants', '--format', 'gguf:q4_k_m'];
    const weighed = await runCli(['quantize', demo, ...mix, '--imatrix', 'demo.gguf', '--out', 'weighed'], place());
    expect({ code: weighed.code, stderr: weighed.code === 0 ? '' : weighed.stderr }).toEqual({ code: 0, stderr: '' });
    expect((await verifyCheckpoint(join(root, 'weighed'))).passed).toBe(true);
    const outputs = await quantizeDirect({
      ...{ model: demo, output: join(root, 'calibrated'), calibration, order: 'independent' },
      ...{ recipe: { method: 'kquants' }, formats: ['gguf:q4_k_m'] },
    });
    const digests = async (directory: string) => {
      const { linears } = parseManifest(await readFile(join(directory, 'quantloom.json'), 'utf8'));
      return Object.entries(linears).map(([name, { weightSha256 }]) => [name, weightSha256]);
    };
    expect(await digests(join(root, 'weighed'))).toEqual(await digests(outputs['gguf:q4_k_m'] as string));
  }, 300_000);

  it('replaces no other file unasked', async () => {
    const { code, stderr } = await runCli(['imatrix', demo, ...sizes, '--seed', '1', '--out', 'demo.gguf'], place());
    expect(code).toBe(2);
    expect(stderr).toContain('demo.gguf exists');
  }, 60_000);
});
