import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';

/** What jest tells of a file of tests. */
interface FileResult {
  readonly testFilePath: string;
  readonly testResults: readonly {
    readonly ancestorTitles: readonly string[];
    readonly title: string;
    readonly status: string;
  }[];
}

/** The last result of a file of tests. */
interface Outcome {
  readonly title: string;
  readonly date: string;
  /** Of whoever reads, by name. */
  readonly versions: Readonly<Record<string, string>>;
  readonly cases: readonly { readonly title: string; readonly passed: boolean }[];
}

const ROOT = join(__dirname, '..', '..');
const RESULTS = join(__dirname, 'results.json');
const DOCUMENT = join(ROOT, 'docs', 'compatibility.md');

/** Distributions of Python, then packages of npm: those that are there. */
const READERS = {
  python:
    'torch transformers gptqmodel compressed-tensors llmcompressor bitsandbytes gguf onnx onnxruntime-genai'.split(' '),
  npm: ['onnxruntime-node', 'onnxruntime-web', '@huggingface/transformers', 'node-llama-cpp', 'playwright-core'],
};

const INTRODUCTION = `What the tools that own a format make of our files, and we of theirs: the last result of every test of \`npm run test:peers\`, which
writes this page. They need a Python with these tools (\`QUANTLOOM_PEERS_PYTHON\`). Lighter ones, with llama.cpp, onnxruntime and
fixtures that other tools have made, are part of \`npm test\`. What a row asks for, to the bit or within a bound, is its title.`;

/** Keeps the last result of every file of test/peers, and writes them down in docs/compatibility.md. */
export class CompatibilityReporter {
  private readonly outcomes: Record<string, Outcome> = existsSync(RESULTS)
    ? JSON.parse(readFileSync(RESULTS, 'utf8'))
    : {};
  private readonly versions = versionsOfReaders();

  onTestResult(_: unknown, { testFilePath, testResults }: FileResult): void {
    const run = testResults.filter(({ status }) => status === 'passed' || status === 'failed');
    const title = run[0]?.ancestorTitles[0];
    // A run of some cases (`-t`) says nothing of the others.
    if (title === undefined || run.length < testResults.length) return;
    this.outcomes[basename(testFilePath, '.test.ts')] = {
      title,
      date: new Date().toISOString().slice(0, 10),
      versions: this.versions,
      cases: run.map(({ title, status }) => ({ title, passed: status === 'passed' })),
    };
  }

  onRunComplete(): void {
    const sorted = Object.fromEntries(Object.entries(this.outcomes).sort(([a], [b]) => (a < b ? -1 : 1)));
    writeFileSync(RESULTS, `${JSON.stringify(sorted, null, 2)}\n`);
    writeFileSync(DOCUMENT, documentOf(sorted));
  }
}

function documentOf(outcomes: Readonly<Record<string, Outcome>>): string {
  let said = '';
  const sections = Object.entries(outcomes).map(([file, { title, date, versions, cases }]) => {
    const readers = Object.entries(versions)
      .map(([name, version]) => `${name} ${version}`)
      .join(', ');
    const again = readers === said;
    said = readers;
    const lines = cases.map(
      ({ title, passed }) => `| ${title.replaceAll('|', '\\|')} | ${passed ? 'yes' : '**no**'} |`,
    );
    return [
      `## ${title[0]?.toUpperCase()}${title.slice(1)}`,
      `${date}, \`test/peers/${file}.test.ts\`, ${again ? 'with the same versions' : `with ${readers}`}.`,
      ['| | holds |', '|---|---|', ...lines].join('\n'),
    ].join('\n\n');
  });
  return `${['# Compatibility', INTRODUCTION, ...sections].join('\n\n')}\n`;
}

function versionsOfReaders(): Record<string, string> {
  const script =
    'import sys, importlib.metadata as m\n' +
    'for name in sys.argv[1:]:\n' +
    '  try: print(name, m.version(name))\n' +
    '  except m.PackageNotFoundError: pass\n';
  const python = process.env.QUANTLOOM_PEERS_PYTHON;
  const lines = python
    ? execFileSync(python, ['-c', script, ...READERS.python], { encoding: 'utf8' })
        .trim()
        .split('\n')
    : [];
  for (const name of READERS.npm) {
    const manifest = join(ROOT, 'node_modules', name, 'package.json');
    if (existsSync(manifest)) lines.push(`${name} ${JSON.parse(readFileSync(manifest, 'utf8')).version}`);
  }
  return Object.fromEntries(lines.map((line) => line.split(' ') as [string, string]));
}
