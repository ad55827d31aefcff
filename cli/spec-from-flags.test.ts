import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Command } from 'commander';
import { addSpecFlags } from './spec-flags';
import { parseOverride, specFromFlags } from './spec-from-flags';

function specOf(args: string[], defaults: Record<string, unknown> = {}, workingDirectory = '/srv') {
  const command = new Command()
    .argument('[model]')
    .exitOverride()
    .configureOutput({ outputError: () => {} });
  addSpecFlags(command);
  command.parse(args, { from: 'user' });
  return specFromFlags({ model: command.args[0], flags: command.opts(), defaults, workingDirectory });
}

describe('spec from flags', () => {
  it('needs a model only, and names the output after it and the scheme', () => {
    expect(specOf(['models/SmolLM2-135M'])).toMatchObject({
      model: '/srv/models/SmolLM2-135M',
      output: '/srv/SmolLM2-135M-gptq-4bit-g128',
      keepHead: true,
      overwrite: false,
      formats: ['gptq'],
      evaluation: null,
      calibration: { source: 'demo', samples: 128 },
    });
  });

  it('has a flag for every field', () => {
    const flags = [
      ...[
        '--average-bits',
        '3.25',
        '--mixed-widths',
        '3,4,5',
        '--quality',
        'fast',
        '--method',
        'rtn',
        '--bits',
        '3',
        '--group-size',
        '-1',
        '--asym',
        '--act-order',
        'dynamic',
        '--damping',
        '0.05',
      ],
      ...[
        '--scales',
        'minmax',
        '--refinements',
        '1',
        '--importance',
        'diagonal',
        '--zeros',
        'neighbours',
        '--learned-rounding',
        '200',
        '--refinement-damping',
        '0.03',
        '--restarts',
        '2',
        '--group-rounds',
        '5',
        '--mismatch',
        '0.5',
        '--order',
        'layer',
        '--rotation',
        'hadamard',
        '--scaling',
        'awq',
        '--format',
        'gptq,gptq_v2',
        '--no-keep-head',
      ],
      ...['--calibration', 'texts/c4.jsonl', '--samples', '16', '--sequence-length', '512', '--seed', '9'],
      ...[
        '--slice-tokens',
        '1024',
        '--original-share',
        '0.5',
        '--all-experts',
        '--precision',
        'float32',
        '--evaluate',
        'demo',
        '--context',
        '256',
        '--max-tokens',
        '999',
        '--skip-original',
      ],
      ...['--concurrency', '4', '--solve-parts', '2', '--out', 'here', '--overwrite'],
    ];
    expect(specOf(['demo', ...flags])).toEqual({
      model: 'demo',
      output: '/srv/here',
      overwrite: true,
      recipe: {
        method: 'rtn',
        bits: 3,
        groupSize: -1,
        symmetric: false,
        actOrder: 'dynamic',
        damping: 0.05,
        scales: 'minmax',
        refinements: 1,
        importance: 'diagonal',
        zeros: 'neighbours',
        learnedRounding: 200,
        refinementDamping: 0.03,
        restarts: 2,
        groupRounds: 5,
        mismatch: 0.5,
      },
      quality: 'fast',
      averageBits: 3.25,
      mixedWidths: [3, 4, 5],
      overrides: [],
      keepHead: false,
      order: 'layer',
      rotation: 'hadamard',
      scaling: 'awq',
      formats: ['gptq', 'gptq_v2'],
      calibration: {
        source: '/srv/texts/c4.jsonl',
        samples: 16,
        sequenceLength: 512,
        seed: 9,
        sliceTokens: 1024,
        originalShare: 0.5,
        allExperts: true,
        precision: 'float32',
      },
      evaluation: { text: 'demo', context: 256, maxTokens: 999, original: false },
      concurrency: 4,
      solveParts: 2,
    });
  });

  it("takes a method's own grid and format for what is not given", () => {
    expect(specOf(['demo', '--method', 'nf4'])).toMatchObject({
      output: '/srv/demo-nf4-4bit-g64',
      recipe: { method: 'nf4', bits: 4, groupSize: 64, symmetric: true, doubleQuant: true },
      formats: ['bitsandbytes'],
    });
    expect(
      specOf(['demo', '--method', 'fp4', '--group-size', '128', '--no-double-quant', '--quality', 'best']),
    ).toMatchObject({
      recipe: { method: 'fp4', bits: 4, groupSize: 128, symmetric: true, doubleQuant: false },
      formats: ['bitsandbytes'],
    });
    expect(specOf(['demo', '--method', 'llm-int8'])).toMatchObject({
      output: '/srv/demo-llm-int8-8bit-row',
      recipe: { method: 'llm-int8', bits: 8, groupSize: -1 },
      formats: ['bitsandbytes'],
    });
    expect(specOf(['demo']).recipe).not.toHaveProperty('doubleQuant');
  });

  it('takes a fraction of a bit for an average', () => {
    expect(specOf(['demo', '--bits', '3.5', '--group-size', '64'])).toMatchObject({
      averageBits: 3.5,
      recipe: { bits: 4, groupSize: 64 },
      output: expect.stringMatching(/-gptq-3\.5bit-g64$/),
    });
    expect(specOf(['demo', '--bits', '3'])).toMatchObject({ averageBits: null, recipe: { bits: 3 } });
  });

  it('reads overrides in order, with --skip after them', () => {
    const { overrides } = specOf([
      'demo',
      ...[
        '--skip',
        '*.o_proj',
        '--override',
        '*.down_proj:bits=8,groupSize=64',
        '--override',
        're:layers\\.(0|1)\\.:symmetric=false',
      ],
    ]);
    expect(overrides).toEqual([
      { match: '*.down_proj', bits: 8, groupSize: 64 },
      { match: 're:layers\\.(0|1)\\.', symmetric: false },
      { match: '*.o_proj', skip: true },
    ]);
  });

  it('keeps colons of the pattern, and leaves words as they are', () => {
    expect(parseOverride('re:(?:a|b):method=rtn,damping=0.1')).toEqual({
      match: 're:(?:a|b)',
      method: 'rtn',
      damping: 0.1,
    });
    expect(() => parseOverride('*.down_proj')).toThrow(/PATTERN:field=value/);
  });

  it('takes flags before the file of --spec before the configuration', () => {
    const directory = mkdtempSync(join(tmpdir(), 'quantloom-spec-'));
    const file = { model: 'model', recipe: { bits: 3, groupSize: 64 }, overrides: [{ match: 'a', bits: 8 }] };
    writeFileSync(join(directory, 'spec.json'), JSON.stringify(file));
    const defaults = { recipe: { bits: 2, damping: 0.02 }, order: 'layer' };
    const spec = specOf(['--spec', 'spec.json', '--group-size', '32', '--skip', 'b'], defaults, directory);
    expect(spec).toMatchObject({
      model: join(directory, 'model'),
      recipe: { bits: 3, groupSize: 32, damping: 0.02 },
      order: 'layer',
      overrides: [
        { match: 'a', bits: 8 },
        { match: 'b', skip: true },
      ],
    });
  });

  it.each([
    [['demo', '--bits', '7'], /recipe\.bits/],
    [['demo', '--bits', 'four'], /must be a number/],
    [['demo', '--sym', '--asym'], /cannot be used with/],
    [['demo', '--context', '256'], /need --evaluate/],
    [['demo', '--override', '*:colour=red'], /overrides\.0/],
    [['demo', '--format', 'zip'], /formats\.0/],
    [[], /No model given/],
    [['demo', '--spec', 'missing.json'], /missing\.json/],
  ])('refuses %j', (args, message) => {
    expect(() => specOf(args)).toThrow(message);
  });
});
