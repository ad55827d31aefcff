import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { BrokenModel } from '../support/broken-model';
import { type CliRun, runCli, startUp } from '../support/run-cli';

/** The program is started this often at a time: a start takes half a second of one core. */
const AT_ONCE = 2;

interface BadInput {
  readonly name: string;
  /** Prepares `place`, an empty directory that is also the working directory. @returns the command line. */
  readonly prepare: (place: string) => readonly string[];
  readonly environment?: Readonly<Record<string, string>>;
  readonly code: string;
  readonly exit: 1 | 2;
  /** What was wrong, where, the limit, what to do. */
  readonly says: readonly RegExp[];
}

/** `quantize` of a model that was broken by `spoil`. */
function quantize(spoil: (model: BrokenModel) => void, ...flags: readonly string[]): BadInput['prepare'] {
  return (place) => {
    spoil(new BrokenModel(join(place, 'model')));
    return ['quantize', 'model', '--out', 'out', '--group-size', '16', ...flags];
  };
}

/** `os.system('touch executed')` for whoever unpickles it. */
const PICKLE = "cos\nsystem\n(S'touch executed'\ntR.";
const intact = () => {};
const Q_PROJ = 'model.layers.0.self_attn.q_proj.weight';
const K_PROJ = 'model.layers.0.self_attn.k_proj.weight';

const BAD_MODELS: readonly BadInput[] = [
  {
    name: 'a model that is not there',
    prepare: () => ['quantize', 'nowhere', '--out', 'out'],
    code: 'InvalidModel',
    exit: 1,
    says: [/nowhere does not exist/],
  },
  {
    name: 'a file where a directory belongs',
    prepare: (place) => {
      writeFileSync(join(place, 'model'), '');
      return ['quantize', 'model', '--out', 'out'];
    },
    code: 'InvalidModel',
    exit: 1,
    says: [/model is not a directory/, /Give the directory/],
  },
  {
    name: 'a directory without a model',
    prepare: (place) => {
      mkdirSync(join(place, 'model'));
      return ['quantize', 'model', '--out', 'out'];
    },
    code: 'InvalidModel',
    exit: 1,
    says: [/model\/config\.json is missing/],
  },
  {
    name: 'a config.json that is no JSON',
    prepare: quantize((model) => writeFileSync(model.path('config.json'), '{"hidden_size": 32,')),
    code: 'InvalidModel',
    exit: 1,
    says: [/config\.json is not valid JSON/],
  },
  {
    name: 'a missing tensor',
    prepare: quantize((model) =>
      model.header((header) => {
        header['model.layers.0.self_attn.k_proj.spare'] = header[K_PROJ] as never;
        delete header[K_PROJ];
      }),
    ),
    code: 'PlanRefused',
    exit: 1,
    says: [/model\.layers\.0\.self_attn\.k_proj\.weight is missing in the weight files/, /Is the download complete/],
  },
  {
    name: 'a missing shard',
    prepare: quantize((model) => {
      const shard = 'model-00001-of-00002.safetensors';
      rmSync(model.weights);
      writeFileSync(
        model.path('model.safetensors.index.json'),
        JSON.stringify({ metadata: {}, weight_map: { [Q_PROJ]: shard } }),
      );
    }),
    code: 'InvalidModel',
    exit: 1,
    says: [/model-00001-of-00002\.safetensors/, /missing: the download is incomplete/],
  },
  {
    name: 'an index that leads out of the directory',
    prepare: quantize((model) => {
      rmSync(model.weights);
      writeFileSync(
        model.path('model.safetensors.index.json'),
        JSON.stringify({ weight_map: { [Q_PROJ]: '../../secret.safetensors' } }),
      );
    }),
    code: 'InvalidModel',
    exit: 1,
    says: [/secret\.safetensors/, /does not lie inside the model's directory/],
  },
  {
    name: 'a file that ends early',
    prepare: quantize((model) => model.truncate(60_000)),
    code: 'InvalidModel',
    exit: 1,
    says: [/model\.safetensors/, /truncated/, /ends at byte 56832 of the data, which has 56648/],
  },
  {
    name: 'a file that ends inside its header',
    prepare: quantize((model) => model.truncate(100)),
    code: 'InvalidModel',
    exit: 1,
    says: [/model\.safetensors/, /truncated/, /100/],
  },
  {
    name: 'a header that claims more than any reader takes',
    prepare: quantize((model) => writeFileSync(model.weights, Buffer.alloc(64, 0xff))),
    code: 'InvalidModel',
    exit: 1,
    says: [/model\.safetensors/, /18446744073709551615/, /limit of 100000000/],
  },
  {
    name: 'a header whose offsets do not fit the shape',
    prepare: quantize((model) =>
      model.header((header) => {
        header[Q_PROJ] = { ...(header[Q_PROJ] as never as object), shape: [64, 33] } as never;
      }),
    ),
    code: 'InvalidModel',
    exit: 1,
    says: [/model\.safetensors/, /q_proj\.weight/, /8448/],
  },
  {
    name: 'a header whose offsets lie behind the end of the file',
    prepare: quantize((model) =>
      model.header((header) => {
        const entry = header['model.norm.weight'] as { data_offsets: [number, number] };
        entry.data_offsets = [entry.data_offsets[0] + 1_000_000, entry.data_offsets[1] + 1_000_000];
      }),
    ),
    code: 'InvalidModel',
    exit: 1,
    says: [/model\.safetensors/, /model\.norm\.weight/],
  },
  {
    name: 'tensors that overlap',
    prepare: quantize((model) =>
      model.header((header) => {
        const entry = header[K_PROJ] as { data_offsets: [number, number] };
        entry.data_offsets = [entry.data_offsets[0] + 8, entry.data_offsets[1] + 8];
      }),
    ),
    code: 'InvalidModel',
    exit: 1,
    says: [/model\.safetensors/, /k_proj|o_proj/, /overlap|gap|does not belong|no tensor/],
  },
  {
    name: 'weights of another shape than config.json says',
    prepare: quantize((model) =>
      model.config((config) => {
        config.intermediate_size = 96;
      }),
    ),
    code: 'PlanRefused',
    exit: 1,
    says: [/Its shape is \[80, 32\]; config\.json implies \[96, 32\]/, /do not belong together/],
  },
  {
    name: 'an architecture that is not known',
    prepare: quantize((model) =>
      model.config((config) => {
        config.architectures = ['MambaForCausalLM'];
        config.model_type = 'mamba';
      }),
    ),
    code: 'PlanRefused',
    exit: 1,
    says: [/MambaForCausalLM/, /Supported architectures: llama/],
  },
  {
    name: 'a feature that is not known',
    prepare: quantize((model) =>
      model.config((config) => {
        config.rope_parameters = { rope_type: 'yarn', factor: 4 };
      }),
    ),
    code: 'PlanRefused',
    exit: 1,
    says: [/rope type "yarn"/, /Supported: default, llama3/],
  },
  {
    name: 'pickle files only, which are never opened',
    prepare: quantize((model) => {
      rmSync(model.weights);
      writeFileSync(model.path('pytorch_model.bin'), PICKLE);
    }),
    code: 'UnsupportedInput',
    exit: 1,
    says: [/pytorch_model\.bin/, /can run any code/, /safetensors library/],
  },
  {
    name: 'a model that is quantized already',
    prepare: quantize((model) =>
      model.config((config) => {
        config.quantization_config = { quant_method: 'gptq', bits: 4 };
      }),
    ),
    code: 'PlanRefused',
    exit: 1,
    says: [/quantized already/, /quantization_config \(gptq\)/, /Start from the 16-bit original/],
  },
  {
    name: 'an address of a kind that is not known',
    prepare: () => ['quantize', 'gs://bucket/model', '--out', 'out'],
    code: 'UnsupportedInput',
    exit: 1,
    says: [/gs:\/\/bucket\/model/, /begin with hf:, s3:/, /Download the model/],
  },
  {
    name: 'a hub that cannot be reached',
    prepare: () => ['quantize', 'hf:some/model', '--out', 'out'],
    environment: { HF_ENDPOINT: 'http://127.0.0.1:1' },
    code: 'SourceUnavailable',
    exit: 1,
    says: [/hf:some\/model/, /127\.0\.0\.1:1 cannot be reached/, /HF_ENDPOINT/],
  },
  {
    name: 'a bucket that cannot be reached',
    prepare: () => ['plan', 's3://bucket/model', '--out', 'out'],
    environment: {
      QUANTLOOM_S3_ENDPOINT: 'http://127.0.0.1:1',
      AWS_ACCESS_KEY_ID: 'key',
      AWS_SECRET_ACCESS_KEY: 'secret',
    },
    code: 'SourceUnavailable',
    exit: 1,
    says: [/s3:\/\/bucket\/model at http:\/\/127\.0\.0\.1:1/, /cannot be reached/, /ECONNREFUSED/],
  },
  {
    name: 'a size of the cache that is none',
    prepare: () => ['gc'],
    environment: { QUANTLOOM_CACHE_SIZE: 'much' },
    code: 'WrongUse',
    exit: 2,
    says: [/QUANTLOOM_CACHE_SIZE is "much"/, /50GiB/],
  },
  {
    name: 'an address of the hub that is none',
    prepare: () => ['plan', 'hf:some/model/file.gguf', '--out', 'out'],
    code: 'WrongUse',
    exit: 2,
    says: [/hf:some\/model\/file\.gguf/, /hf:OWNER\/NAME@REVISION/],
  },
  {
    name: 'a tokenizer that is missing',
    prepare: quantize((model) => rmSync(model.path('tokenizer.json'))),
    code: 'PlanRefused',
    exit: 1,
    says: [/tokenizer\.json is missing/, /Copy it from where the model comes from/],
  },
  {
    name: 'a calibration text that is empty',
    prepare: (place) => {
      writeFileSync(join(place, 'empty.txt'), '');
      return quantize(intact, '--calibration', 'empty.txt')(place);
    },
    code: 'PlanRefused',
    exit: 1,
    says: [/empty\.txt is empty/],
  },
  {
    name: 'a calibration text that is not there',
    prepare: quantize(intact, '--calibration', 'absent.txt'),
    code: 'PlanRefused',
    exit: 1,
    says: [/absent\.txt does not exist/, /Name a text file/],
  },
  {
    name: 'a group size that does not divide',
    prepare: quantize(intact, '--group-size', '64'),
    code: 'PlanRefused',
    exit: 1,
    says: [/down_proj/, /80 columns are not divisible by the group size 64/, /Group sizes that fit: 16, -1/],
  },
  {
    name: 'an output below a file',
    prepare: (place) => {
      writeFileSync(join(place, 'file'), '');
      return quantize(intact, '--out', 'file/out')(place);
    },
    code: 'PlanRefused',
    exit: 1,
    says: [/file is not a directory/, /name another output/],
  },
  {
    name: 'an output inside the model',
    prepare: quantize(intact, '--out', 'model/out'),
    code: 'PlanRefused',
    exit: 1,
    says: [/model\/out and the model's directory .* lie in one another/, /Name another output/],
  },
];

const WRONG_USE: readonly BadInput[] = [
  {
    name: 'an output that exists',
    prepare: (place) => {
      mkdirSync(join(place, 'out'));
      writeFileSync(join(place, 'out', 'thesis.txt'), 'not to be lost');
      return quantize(intact)(place);
    },
    code: 'OutputExists',
    exit: 2,
    says: [/out exists/, /--out/, /--overwrite/],
  },
  {
    name: 'an unknown command',
    prepare: () => ['quantise', 'demo'],
    code: 'WrongUse',
    exit: 2,
    says: [/unknown command 'quantise'/, /quantize/],
  },
  {
    name: 'an unknown flag',
    prepare: () => ['quantize', 'demo', '--bitz', '4'],
    code: 'WrongUse',
    exit: 2,
    says: [/unknown option '--bitz'/, /--bits/],
  },
  {
    name: 'a flag value that is no number',
    prepare: () => ['quantize', 'demo', '--bits', 'four'],
    code: 'WrongUse',
    exit: 2,
    says: [/--bits <n>/, /'four' is invalid/, /must be a number/],
  },
  {
    name: 'a number of bits that there is not',
    prepare: () => ['quantize', 'demo', '--bits', '7'],
    code: 'InvalidSpecification',
    exit: 2,
    says: [/recipe\.bits/, /2\|3\|4\|5\|6\|8/],
  },
  {
    name: 'a group size that there is not',
    prepare: () => ['quantize', 'demo', '--group-size', '100'],
    code: 'InvalidSpecification',
    exit: 2,
    says: [/recipe\.groupSize/, /-1\|16\|32\|64\|128\|256/],
  },
  {
    name: 'a method that there is not',
    prepare: () => ['quantize', 'demo', '--method', 'magic'],
    code: 'InvalidSpecification',
    exit: 2,
    says: [/recipe\.method/, /"rtn"\|"gptq"/],
  },
  {
    name: 'no samples',
    prepare: () => ['quantize', 'demo', '--samples', '0'],
    code: 'InvalidSpecification',
    exit: 2,
    says: [/calibration\.samples/, />0/],
  },
  {
    name: 'an override without a field',
    prepare: () => ['quantize', 'demo', '--override', '*.down_proj'],
    code: 'WrongUse',
    exit: 2,
    says: [/--override "\*\.down_proj"/, /for example/],
  },
  {
    name: 'an override of a field that there is not',
    prepare: () => ['quantize', 'demo', '--override', '*.down_proj:bitz=8'],
    code: 'InvalidSpecification',
    exit: 2,
    says: [/overrides\.0/, /bitz/],
  },
  {
    name: 'an override that matches nothing',
    prepare: () => ['quantize', 'demo', '--out', 'out', '--override', '*.dawn_proj:bits=8'],
    code: 'PlanRefused',
    exit: 1,
    says: [/"\*\.dawn_proj" matches no linear/, /down_proj/],
  },
  {
    name: 'a spec file that is not there',
    prepare: () => ['quantize', 'demo', '--spec', 'absent.json'],
    code: 'WrongUse',
    exit: 2,
    says: [/--spec .*absent\.json/, /no such file/],
  },
  {
    name: 'a configuration file with an unknown field',
    prepare: (place) => {
      writeFileSync(join(place, 'quantloom.config.json'), '{"threds": 2}');
      return ['plan', 'demo'];
    },
    code: 'WrongUse',
    exit: 2,
    says: [/quantloom\.config\.json/, /threds/],
  },
  {
    name: 'an environment variable that is no number',
    prepare: () => ['plan', 'demo'],
    environment: { QUANTLOOM_THREADS: 'many' },
    code: 'WrongUse',
    exit: 2,
    says: [/QUANTLOOM_THREADS is "many"/, /at least 1/],
  },
  {
    name: 'a store of a kind that is not known',
    prepare: () => ['gc'],
    environment: { QUANTLOOM_STORE: 'gs://bucket/prefix' },
    code: 'WrongUse',
    exit: 2,
    says: [/gs:\/\/bucket\/prefix/, /must be a directory or s3:/],
  },
  {
    name: 'an evaluation text that is not there',
    prepare: () => ['evaluate', 'demo', '--text', 'absent.txt'],
    code: 'InvalidCalibration',
    exit: 1,
    says: [/absent\.txt/, /cannot be read/],
  },
  {
    name: 'a checkpoint that is not there',
    prepare: () => ['verify', 'nowhere'],
    code: 'InvalidCheckpoint',
    exit: 1,
    says: [/nowhere/],
  },
  {
    name: 'a model to generate with that is not there',
    prepare: () => ['generate', 'nowhere', '--prompt', 'Hello'],
    code: 'InvalidModel',
    exit: 1,
    says: [/nowhere/],
  },
];

interface Outcome extends CliRun {
  /** Everything in the working directory, before and after. */
  readonly before: readonly string[];
  readonly after: readonly string[];
}

/** Runs the cases, each in a directory of its own below `root`. */
async function runAll(cases: readonly BadInput[], root: string): Promise<Map<string, Outcome>> {
  const outcomes = new Map<string, Outcome>();
  const waiting = cases.map((input, index) => ({ input, place: join(root, 'places', String(index)) }));
  const entriesOf = (place: string) => (readdirSync(place, { recursive: true }) as string[]).sort();
  const lane = async () => {
    for (let next = waiting.shift(); next; next = waiting.shift()) {
      const { input, place } = next;
      mkdirSync(place, { recursive: true });
      const args = input.prepare(place);
      const before = entriesOf(place);
      const { environment } = input;
      const run = await runCli([...args, '--json'], { home: join(root, 'home'), workingDirectory: place, environment });
      outcomes.set(input.name, { ...run, before, after: entriesOf(place) });
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, lane));
  return outcomes;
}

function expectRefusal(outcome: Outcome | undefined, { code, exit, says }: BadInput): void {
  const errors = outcome?.stderr.match(/^error: .*$/gm);
  expect(errors).toHaveLength(1);
  expect(outcome?.stderr.endsWith(`${errors?.[0]}\n`)).toBe(true);
  for (const part of says) expect(errors?.[0]).toMatch(part);
  const document = JSON.parse(outcome?.stdout ?? '') as { error: { code: string; message: string } };
  expect(document.error).toMatchObject({ code, message: expect.any(String) });
  expect(outcome?.code).toBe(exit);
  // Neither an output, nor something half-written beside it.
  expect(outcome?.after).toEqual(outcome?.before);
}

describe('bad input', () => {
  const cases = [...BAD_MODELS, ...WRONG_USE];
  let root: string;
  let outcomes: Map<string, Outcome>;

  beforeAll(async () => {
    root = mkdtempSync(join(tmpdir(), 'quantloom-bad-'));
    outcomes = await runAll(cases, root);
  });

  afterAll(() => rmSync(root, { recursive: true, force: true }));

  it.each(cases)('is answered with one line that helps: $name', (input) => {
    expectRefusal(outcomes.get(input.name), input);
    expect(outcomes.get(input.name)?.stderr).toMatch(/^error: [^\n]+\n$/);
  });

  it('is refused before anything is started', () => {
    expect(readdirSync(root)).toEqual(['places']);
  });
});

/** What is left can be quantized; the rest has a number of rows that no GPTQ file holds. */
const FITTING = ['--skip', '*.mlp.*'];

const AT_WORK: readonly BadInput[] = [
  {
    name: 'a NaN among the weights',
    prepare: quantize((model) => model.poison(Q_PROJ, 70, Number.NaN), '--method', 'rtn', ...FITTING),
    code: 'NonFiniteWeights',
    exit: 1,
    says: [
      /self_attn\.q_proj\.weight/,
      /1 NaN or infinite element/,
      /index 70 of shape \[64, 32\]/,
      /download it again/,
    ],
  },
  {
    name: 'an infinite weight',
    prepare: quantize(
      (model) => model.poison('model.norm.weight', 3, Number.NEGATIVE_INFINITY),
      '--method',
      'rtn',
      ...FITTING,
    ),
    code: 'NonFiniteWeights',
    exit: 1,
    says: [/model\.norm\.weight/, /index 3 of shape \[32\]/],
  },
  {
    name: 'a calibration text shorter than one sequence',
    prepare: (place) => {
      writeFileSync(join(place, 'short.txt'), 'Call me Ishmael.');
      return quantize(intact, '--calibration', 'short.txt', '--sequence-length', '64', ...FITTING)(place);
    },
    code: 'InvalidCalibration',
    exit: 1,
    says: [/has \d+ tokens, fewer than one sequence of 64/, /longer text or a smaller/],
  },
  {
    name: 'a calibration text of nothing but spaces',
    prepare: (place) => {
      writeFileSync(join(place, 'blank.txt'), ' \n\n \n');
      return quantize(intact, '--calibration', 'blank.txt', ...FITTING)(place);
    },
    code: 'InvalidCalibration',
    exit: 1,
    says: [/blank\.txt holds no text/],
  },
  {
    name: 'a line of JSONL without text',
    prepare: (place) => {
      writeFileSync(join(place, 'lines.jsonl'), '{"text": "Call me Ishmael."}\n{"txt": "Some years ago"}\n');
      return quantize(intact, '--calibration', 'lines.jsonl', ...FITTING)(place);
    },
    code: 'InvalidCalibration',
    exit: 1,
    says: [/lines\.jsonl, line 2/, /field `text`/],
  },
  ...(['status', 'logs', 'pause', 'resume', 'cancel', 'retry'] as const).map((command) => ({
    name: `${command} of an unknown job`,
    prepare: () => [command, 'nobody'],
    code: 'JobNotFound',
    exit: 2 as const,
    says: [/There is no job "nobody"/, /quantloom list/],
  })),
];

describe('bad input that only shows at work', () => {
  let root: string;
  let outcomes: Map<string, Outcome>;

  beforeAll(async () => {
    root = mkdtempSync(join(tmpdir(), 'quantloom-bad-'));
    const up = await startUp(join(root, 'home'));
    try {
      outcomes = await runAll(AT_WORK, root);
    } finally {
      await up.stop();
    }
  }, 300_000);

  afterAll(() => rmSync(root, { recursive: true, force: true }));

  it.each(AT_WORK)('ends the job with one line that helps: $name', (input) => {
    expectRefusal(outcomes.get(input.name), input);
  });
});
