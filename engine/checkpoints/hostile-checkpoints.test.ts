import { cp, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import fc from 'fast-check';
import { mutatedJson } from '../../test/support/mutated-json';
import { writeTinyCheckpoint } from '../../test/support/tiny-checkpoint';
import { QuantloomError, type Tensor } from '../spec';
import { openCheckpoint } from './open-checkpoint';
import { parseSafetensors } from './safetensors/parse-safetensors';
import { serializeSafetensors } from './safetensors/serialize-safetensors';
import { verifyCheckpoint } from './verify-checkpoint';

jest.setTimeout(120_000);

const FORMATS = ['gptq', 'gptq_v2', 'compressed-tensors', 'awq'] as const;
const RUNS = { numRuns: 60, seed: 20261123 };
const MOST_MICROSECONDS = 1e6;

/** Reads every tensor, and verifies. The refusal; null when there is none. */
async function refusalOf(directory: string): Promise<unknown> {
  try {
    const checkpoint = await openCheckpoint(directory);
    for (const name of checkpoint.names()) {
      await checkpoint.shape(name);
      await checkpoint.float(name);
    }
    await verifyCheckpoint(directory);
    return null;
  } catch (error) {
    return error;
  }
}

describe.each(FORMATS)('a %s checkpoint that is broken or hostile', (format) => {
  let directory: string;

  beforeAll(async () => {
    directory = await mkdtemp(path.join(tmpdir(), 'quantloom-hostile-'));
    await writeTinyCheckpoint(path.join(directory, 'whole'), { format });
  });
  afterAll(() => rm(directory, { recursive: true }));

  async function copy(name: string): Promise<string> {
    const to = path.join(directory, name);
    await cp(path.join(directory, 'whole'), to, { recursive: true });
    return to;
  }

  async function expectRead(checkpoint: string): Promise<void> {
    const began = process.cpuUsage();
    const refusal = await refusalOf(checkpoint);
    const { user, system } = process.cpuUsage(began);
    expect(user + system).toBeLessThan(MOST_MICROSECONDS);
    if (refusal !== null) expect(refusal).toBeInstanceOf(QuantloomError);
  }

  it('is read as it is', async () => {
    expect(await refusalOf(path.join(directory, 'whole'))).toBeNull();
  });

  it.each(['config.json', 'quantloom.json', 'model.safetensors.index.json'])(
    '%s with values that surprise: it is read, or what is wrong is said, within a second',
    async (file) => {
      const checkpoint = await copy(file.replaceAll('.', '-'));
      const document = JSON.parse(await readFile(path.join(checkpoint, file), 'utf8'));
      await fc.assert(
        fc.asyncProperty(mutatedJson(document), async (mutated) => {
          await writeFile(path.join(checkpoint, file), JSON.stringify(mutated));
          await expectRead(checkpoint);
        }),
        RUNS,
      );
    },
  );

  it('quantization_config with values that surprise: it is read, or what is wrong is said, within a second', async () => {
    const checkpoint = await copy('settings');
    const { quantization_config: settings, ...others } = JSON.parse(
      await readFile(path.join(checkpoint, 'config.json'), 'utf8'),
    );
    await fc.assert(
      fc.asyncProperty(mutatedJson(settings), async (mutated) => {
        const config = JSON.stringify({ ...others, quantization_config: mutated });
        await writeFile(path.join(checkpoint, 'config.json'), config);
        await expectRead(checkpoint);
      }),
      { ...RUNS, numRuns: 100 },
    );
  });

  it('tensors of other types and shapes, or without some: it is read, or what is wrong is said, within a second', async () => {
    const checkpoint = await copy('tensors');
    const file = (await readdir(checkpoint)).find((name) => name.endsWith('.safetensors')) as string;
    const { tensors } = parseSafetensors(await readFile(path.join(checkpoint, file)));
    const change = fc.record({
      name: fc.constantFrom(...tensors.keys()),
      to: fc.option(fc.constantFrom<(tensor: Tensor) => Tensor>(...OTHERS), { nil: null }),
    });
    await fc.assert(
      fc.asyncProperty(fc.array(change, { minLength: 1, maxLength: 3 }), async (changes) => {
        const changed = new Map(tensors);
        for (const { name, to } of changes) {
          const tensor = changed.get(name);
          if (!to) changed.delete(name);
          else if (tensor) changed.set(name, to(tensor));
        }
        await writeFile(path.join(checkpoint, file), serializeSafetensors(changed));
        await expectRead(checkpoint);
      }),
      RUNS,
    );
  });
});

/** What a tensor may be in place of what it is. */
const OTHERS: readonly ((tensor: Tensor) => Tensor)[] = [
  ({ data }) => ({ dtype: 'U8', shape: [data.byteLength], data }),
  ({ data }) => ({ dtype: 'F16', shape: [data.byteLength / 2], data }),
  ({ dtype, shape, data }) => ({ dtype, shape: shape.toReversed(), data }),
  ({ dtype, shape, data }) => ({ dtype, shape: [1, ...shape], data }),
  ({ dtype, shape }) => ({ dtype, shape: shape.map(() => 0), data: new Uint8Array() }),
  ({ dtype, shape, data }) => ({ dtype, shape, data: data.map(() => 0xff) }),
];
