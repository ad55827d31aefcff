import { execFile } from 'node:child_process';
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { ComparedRun, OriginalRun } from '../../bench/compare/compared-run';
import type { WorkloadIdentity } from '../../bench/compare/workload';
import type { Results } from '../../bench/results-file';

const ROOT = join(__dirname, '..', '..');
const SIZE = ['--samples', '2', '--length', '64', '--max-tokens', '512', '--context', '128'];

describe('the benchmark', () => {
  let directory: string;

  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), 'quantloom-bench-test-'));
  });

  afterAll(() => rm(directory, { recursive: true, force: true }));

  async function bench(args: readonly string[]): Promise<{ stdout: string; stderr: string }> {
    const words = ['-r', './test/run-typescript.cjs', 'bench/compare/main.ts', ...SIZE, ...args];
    const { QUANTLOOM_PEERS_PYTHON: _, ...environment } = process.env;
    return promisify(execFile)(process.execPath, words, { cwd: ROOT, env: { ...environment, TMPDIR: directory } });
  }

  it('without Python measures Quantloom, says what it left out, and goes on from its results', async () => {
    const json = join(directory, 'results.json');
    const first = await bench(['--json', json, '--split', '--tools', 'quantloom,direct,gptqmodel']);
    expect(first.stderr).toContain('GPTQModel left out: QUANTLOOM_PEERS_PYTHON');
    expect(first.stdout).toMatch(/quantloom \d/);
    expect(first.stdout).toContain('quantize-linears');

    const content = await readFile(json, 'utf8');
    const results = JSON.parse(content) as Results<WorkloadIdentity, unknown>;
    expect(results.kind).toBe('compare');
    expect(results.workload.model).toEqual({ name: 'demo', layers: 4, parameters: 3672320 });
    const [original, run, direct, ...rest] = results.runs as [OriginalRun, ComparedRun, ComparedRun];
    expect(rest).toEqual([]);
    expect(run).toMatchObject({ tool: 'quantloom', width: '4', round: 1, settings: { bits: 4, groupSize: 64 } });
    expect(run.perplexity?.quantloom).toBeGreaterThan(original.perplexity.quantloom as number);
    // The engine alone writes the same weights.
    expect(direct).toMatchObject({ tool: 'direct', perplexity: run.perplexity, settings: run.settings });
    expect(run.weightBytes).toBeLessThan(original.weightBytes);
    const parts = (run.parts as { wallSeconds: Record<string, number> }).wallSeconds;
    expect(Object.values(parts).reduce((sum, seconds) => sum + seconds, 0)).toBeCloseTo(run.wallSeconds, 3);
    expect(content).not.toContain(directory);
    expect(content).not.toContain(ROOT);

    const second = await bench(['--json', json, '--tools', 'quantloom,direct']);
    expect(second.stderr).not.toContain('round 1');
    expect(await readFile(json, 'utf8')).toBe(content);
    expect((await readdir(directory)).filter((name) => name.startsWith('quantloom-bench-'))).toEqual([]);
  }, 300_000);

  it('refuses results of another workload', async () => {
    const json = join(directory, 'results.json');
    await expect(bench(['--json', json, '--group-size', '32'])).rejects.toThrow(/results with another workload/);
  });

  it('names a flag that it does not understand', async () => {
    await expect(bench(['--bits', '9'])).rejects.toThrow(/--bits has "9"/);
    await expect(bench(['--tools', 'awq'])).rejects.toThrow(/--tools has "awq"; known are quantloom/);
  });
});
