import { mkdir, mkdtemp, readFile, readlink, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { CURRENT_LINK, findRelease, RELEASES_FILE, type Release, settleRelease } from '.';

let directory: string;

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'quantloom-releases-'));
});

afterEach(() => rm(directory, { recursive: true, force: true }));

const RULE = { maxPerplexityRise: 0.01, maxSizeRise: 0 };
const TEXT = { textSha256: 'e'.repeat(64), context: 512, scoredTokens: 1000 };

async function release(name: string, identity: string, value: number, bytes = 100): Promise<Release> {
  await mkdir(join(directory, name), { recursive: true });
  return { name, identity: identity.repeat(64), revision: `r-${name}`, bytes, perplexity: { value, ...TEXT } };
}

const current = () => readlink(join(directory, CURRENT_LINK));

test('the first result is promoted, and one within the rule after it', async () => {
  expect(await settleRelease(directory, await release('one', '1', 20), RULE)).toMatchObject({ promote: true });
  expect(await current()).toBe('one');
  expect(await settleRelease(directory, await release('two', '2', 20.1), RULE)).toEqual({
    promote: true,
    reason: 'perplexity 20.100 after 20.000 (+0.5 %); size 100 bytes after 100 bytes (0 %)',
    current: 'two',
  });
  expect(await current()).toBe('two');
});

test.each([
  ['perplexity', 20.3, 100, /^perplexity 20\.300 after 20\.000 \(\+1\.5 %, more than the 1 % that the rule allows\)$/],
  ['size', 20, 101, /^size 101 bytes after 100 bytes \(\+1 %, more than the 0 % that the rule allows\)$/],
])('%s decides', async (_what, value, bytes, reason) => {
  await settleRelease(directory, await release('one', '1', 20), RULE);
  const verdict = await settleRelease(directory, await release('two', '2', value, bytes), RULE);
  expect(verdict).toEqual({ promote: false, reason: expect.stringMatching(reason), current: 'one' });
  expect(await current()).toBe('one');
});

test('perplexities of different texts are not compared', async () => {
  await settleRelease(directory, await release('one', '1', 20), RULE);
  const other = await release('two', '2', 10);
  const elsewhere = { ...other, perplexity: { value: 10, ...TEXT, textSha256: 'f'.repeat(64) } };
  expect(await settleRelease(directory, elsewhere, RULE)).toMatchObject({
    promote: false,
    reason: expect.stringMatching(/another text/),
  });
  const anyPerplexity = { ...RULE, maxPerplexityRise: null };
  expect(await settleRelease(directory, elsewhere, anyPerplexity)).toMatchObject({ promote: true });
});

test('what has been judged is known, until the rule or the promoted one is another', async () => {
  expect(await findRelease(directory, '1'.repeat(64), RULE)).toBeNull();
  await settleRelease(directory, await release('one', '1', 20), RULE);
  await settleRelease(directory, await release('two', '2', 30), RULE);
  expect(await findRelease(directory, '1'.repeat(64), RULE)).toMatchObject({ current: 'one' });
  expect(await findRelease(directory, '2'.repeat(64), RULE)).toMatchObject({
    current: 'one',
    reason: expect.stringMatching(/not promoted/),
  });
  expect(await findRelease(directory, '2'.repeat(64), { ...RULE, maxPerplexityRise: 1 })).toBeNull();
  await settleRelease(directory, await release('three', '3', 20), RULE);
  expect(await findRelease(directory, '2'.repeat(64), RULE)).toBeNull();
});

test('a process that dies between record and link leaves nothing that the next does not mend', async () => {
  const one = await release('one', '1', 20);
  await settleRelease(directory, one, RULE);
  const two = await release('two', '2', 20);
  const record = JSON.parse(await readFile(join(directory, RELEASES_FILE), 'utf8'));
  await writeFile(join(directory, RELEASES_FILE), JSON.stringify({ ...record, promoted: two }));
  expect(await current()).toBe('one');
  expect(await settleRelease(directory, two, RULE)).toMatchObject({ promote: true, current: 'two' });
  expect(await current()).toBe('two');
});

test('a release that somebody removed does not count as one', async () => {
  await settleRelease(directory, await release('one', '1', 20), RULE);
  await rm(join(directory, 'one'), { recursive: true });
  expect(await findRelease(directory, '1'.repeat(64), RULE)).toBeNull();
  expect(await settleRelease(directory, await release('two', '2', 50), RULE)).toMatchObject({ promote: true });
});

test('what is no directory of releases is left alone', async () => {
  await mkdir(join(directory, CURRENT_LINK));
  await expect(findRelease(directory, '1'.repeat(64), RULE)).rejects.toMatchObject({ code: 'OutputExists' });
  await rm(join(directory, CURRENT_LINK), { recursive: true });
  await writeFile(join(directory, RELEASES_FILE), '{"version": 2}');
  await expect(findRelease(directory, '1'.repeat(64), RULE)).rejects.toMatchObject({ code: 'OutputUnwritable' });
});
