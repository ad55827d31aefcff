import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import fc from 'fast-check';
import { mutatedJson } from '../../test/support/mutated-json';
import { TINY_MODELS, tinyModelDirectory } from '../../test/tiny-models';
import { parseQuantizationSpec, QuantloomError } from '../spec';
import { planModel } from './plan-model';

jest.setTimeout(60_000);

describe('a config.json that is broken or hostile', () => {
  let directory: string;
  beforeAll(async () => {
    directory = await mkdtemp(path.join(tmpdir(), 'quantloom-hostile-'));
  });
  afterAll(() => rm(directory, { recursive: true }));

  test('numbers of any size, in every field: there is a plan, or what is wrong is said, within a second', async () => {
    const model = path.join(directory, 'numbers');
    await cp(tinyModelDirectory('grouped'), model, { recursive: true });
    const config = JSON.parse(await readFile(path.join(model, 'config.json'), 'utf8'));
    const spec = parseQuantizationSpec({ model, output: path.join(directory, 'out'), recipe: { groupSize: 16 } });
    const slow: unknown[] = [];
    for (const field of Object.keys(config)) {
      for (const value of [-1, 0, 1, 1e6, 2 ** 31, 2 ** 53, 1e300]) {
        await writeFile(path.join(model, 'config.json'), JSON.stringify({ ...config, [field]: value }));
        const began = process.cpuUsage();
        const error: unknown = await planModel(spec).then(
          () => null,
          (reason: unknown) => reason,
        );
        if (error !== null) expect(error).toBeInstanceOf(QuantloomError);
        const { user, system } = process.cpuUsage(began);
        if (user + system > 1e6) slow.push({ field, value, seconds: (user + system) / 1e6 });
      }
    }
    expect(slow).toEqual([]);
  });

  test.each(TINY_MODELS)('%s: there is a plan, or what is wrong is said, within a second', async (name) => {
    const model = path.join(directory, name);
    await cp(tinyModelDirectory(name), model, { recursive: true });
    const config = JSON.parse(await readFile(path.join(model, 'config.json'), 'utf8'));
    const spec = parseQuantizationSpec({ model, output: path.join(directory, 'out'), recipe: { groupSize: 16 } });
    await fc.assert(
      fc.asyncProperty(mutatedJson(config), async (document) => {
        await writeFile(path.join(model, 'config.json'), JSON.stringify(document));
        const refusal = await planModel(spec).then(
          () => null,
          (error: unknown) => error,
        );
        if (refusal !== null) expect(refusal).toBeInstanceOf(QuantloomError);
      }),
      { numRuns: 60, seed: 20261123, timeout: 1000 },
    );
  });
});
