import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Manifest, openCheckpoint, parseManifest, verifyCheckpoint } from '../../engine/checkpoints';
import type { QuantizationSpecInput } from '../../engine/spec';
import { runCli } from '../support/run-cli';

// Compiled: its loops run in worker threads then.
const { quantizeDirect } = require('../../dist/engine') as typeof import('../../engine');

describe('a conversion', () => {
  let root: string;

  beforeAll(async () => {
    root = await mkdtemp(join(tmpdir(), 'quantloom-convert-'));
  });

  afterAll(() => rm(root, { recursive: true, force: true, maxRetries: 5 }));

  const place = () => ({ home: join(root, 'home'), workingDirectory: root });
  const manifestOf = async (...path: string[]): Promise<Manifest> =>
    parseManifest(await readFile(join(root, ...path, 'quantloom.json'), 'utf8'));
  const quantized = async (name: string, changes: Partial<QuantizationSpecInput>) => {
    const calibration = { source: 'demo', samples: 4, sequenceLength: 64 } as const;
    const recipe = { bits: 4, groupSize: 32, refinements: 0, mismatch: 0 } as const;
    await quantizeDirect({ model: 'demo', output: join(root, name), calibration, recipe, ...changes });
  };

  it('has the codes of the source in every format, and what it kept in 16 bit', async () => {
    await quantized('source', { overrides: [{ match: 'model.layers.1.mlp.up_proj', skip: true }] });
    const formats = ['compressed-tensors', 'awq', 'gguf', 'gptq_v2'];
    const { code, stderr } = await runCli(
      ['convert', 'source', '--format', formats.join(','), '--out', 'out'],
      place(),
    );
    expect({ code, stderr: code === 0 ? '' : stderr }).toEqual({ code: 0, stderr: '' });
    const source = await manifestOf('source');
    for (const format of formats) {
      expect({ format, ...(await verifyCheckpoint(join(root, 'out', format))) }).toMatchObject({
        format,
        passed: true,
      });
      const { linears } = await manifestOf('out', format);
      expect(Object.keys(linears)).toEqual(Object.keys(source.linears));
      for (const [name, { weightSha256 }] of Object.entries(source.linears)) {
        expect({ format, name, weightSha256: linears[name]?.weightSha256 }).toEqual({ format, name, weightSha256 });
      }
    }
    const reader = await openCheckpoint(join(root, 'out', 'compressed-tensors'));
    expect(reader.quantized('model.layers.1.mlp.up_proj.weight')).toBe(false);
    const kept = 'model.embed_tokens.weight';
    expect(await reader.stored(kept)).toEqual(await (await openCheckpoint(join(root, 'source'))).stored(kept));
  }, 300_000);

  it('with zero points goes where every zero point can be held', async () => {
    await quantized('shifted', {
      recipe: { bits: 4, groupSize: 32, symmetric: false, refinements: 0, mismatch: 0 },
      formats: ['gptq_v2'],
    });
    const lossy = await runCli(['convert', 'shifted', '--format', 'gptq', '--out', 'lossy'], place());
    expect(lossy.code).not.toBe(0);
    expect(lossy.stderr).toContain('cannot hold the zero point 0');
    const { code, stderr } = await runCli(
      ['convert', 'shifted', '--format', 'compressed-tensors', '--out', 'held'],
      place(),
    );
    expect({ code, stderr: code === 0 ? '' : stderr }).toEqual({ code: 0, stderr: '' });
    const [source, held] = [await manifestOf('shifted'), await manifestOf('held')];
    for (const [name, { weightSha256 }] of Object.entries(source.linears)) {
      expect(held.linears[name]?.weightSha256).toBe(weightSha256);
    }
  }, 300_000);

  it.each([
    ['a model that is not quantized', ['demo', '--format', 'gptq'], 'there are no codes to convert'],
    ['no format', ['source'], 'No format given'],
    ['a format of another grid', ['source', '--format', 'bitsandbytes'], 'cannot hold what the method stored makes'],
  ])(
    'of %s is refused',
    async (_, args, message) => {
      const { code, stderr } = await runCli(['convert', ...args, '--out', 'refused'], place());
      expect(code).not.toBe(0);
      expect(stderr).toContain(message);
    },
    120_000,
  );
});
