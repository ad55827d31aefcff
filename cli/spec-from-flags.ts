import { readFileSync } from 'node:fs';
import { basename, resolve } from 'node:path';
import { Option } from 'commander';
import { isBucketOutput, placeInOutput } from '../engine/checkpoints';
import { parseQuantizationSpec, type QuantizationSpec, QuantloomError } from '../engine/spec';
import { absoluteModel } from './model-argument';
import { SPEC_FLAGS } from './spec-flags';
import { modelName, schemeName } from './workflow-id';

export interface SpecSources {
  /** MODEL of the command line. */
  readonly model: string | undefined;
  readonly flags: Readonly<Record<string, unknown>>;
  /** `spec` of quantloom.config.json. */
  readonly defaults: Readonly<Record<string, unknown>>;
  readonly workingDirectory: string;
}

type Fields = Record<string, unknown>;

/**
 * The resolved spec: flags over the file of --spec over the defaults. Overrides add up in that order reversed, so that flags
 * win. Every path becomes absolute, because workers run elsewhere; the word `demo` stays.
 *
 * @throws QuantloomError WrongUse, InvalidSpecification (exit code 2).
 */
export function specFromFlags(sources: SpecSources): QuantizationSpec {
  const { flags, workingDirectory } = sources;
  const layers = [sources.defaults, readSpecFile(flags.spec as string | undefined, workingDirectory), fieldsOf(flags)];
  const merged: Fields = {};
  for (const layer of layers) merge(merged, layer);
  if (sources.model !== undefined) merged.model = sources.model;
  if (merged.model === undefined) throw new QuantloomError('WrongUse', 'No model given: name a directory, or `demo`.');
  const evaluation = merged.evaluation as Fields | null | undefined;
  if (evaluation && evaluation.text === undefined) {
    throw new QuantloomError('WrongUse', '--context, --max-tokens and --skip-original need --evaluate FILE.');
  }
  // The default output is named after the scheme, which is known once the rest is valid.
  const named = merged.output !== undefined;
  const spec = parseQuantizationSpec(named ? merged : { ...merged, output: '.' });
  const absolute = (path: string) => (path === 'demo' ? path : resolve(workingDirectory, path));
  const model = absoluteModel(spec.model, workingDirectory);
  return {
    ...spec,
    model,
    output:
      named && isBucketOutput(spec.output)
        ? placeInOutput(spec.output, '')
        : resolve(workingDirectory, named ? spec.output : `${modelName(model)}-${schemeName(spec)}`),
    calibration: { ...spec.calibration, source: absolute(spec.calibration.source) },
    ...(spec.imatrix !== undefined && { imatrix: resolve(workingDirectory, spec.imatrix) }),
    evaluation: spec.evaluation && { ...spec.evaluation, text: absolute(spec.evaluation.text) },
  };
}

/** `PATTERN:field=value,...`; the pattern may hold colons itself. */
export function parseOverride(value: string): Fields {
  const match = /^(.+):((?:\w+=[^,=:]+)(?:,\w+=[^,=:]+)*)$/.exec(value);
  if (!match) {
    throw new QuantloomError(
      'WrongUse',
      `--override "${value}" is not PATTERN:field=value,... ; for example "*.down_proj:bits=8,groupSize=64".`,
    );
  }
  const override: Fields = { match: match[1] };
  for (const pair of (match[2] as string).split(',')) {
    const [field, text] = pair.split('=') as [string, string];
    override[field] = /^(true|false|-?\d+(\.\d+)?)$/.test(text) ? JSON.parse(text) : text;
  }
  return override;
}

function fieldsOf(flags: SpecSources['flags']): Fields {
  const fields: Fields = {};
  for (const flag of SPEC_FLAGS) {
    const name = new Option(flag.flags).attributeName();
    const given = flags[name];
    const negated = flag.flags.startsWith('--no-');
    if (given === undefined || ('value' in flag && given !== !negated)) continue;
    set(fields, flag.path, 'value' in flag ? flag.value : given);
  }
  moveFraction(fields);
  const overrides = [
    ...((flags.override as string[] | undefined) ?? []).map(parseOverride),
    ...((flags.skip as string[] | undefined) ?? []).map((match) => ({ match, skip: true })),
  ];
  if (overrides.length > 0) fields.overrides = overrides;
  return fields;
}

/** No code has a fraction of a bit: `--bits 3.5` can only mean an average. */
function moveFraction(fields: Fields): void {
  const { bits, ...recipe } = (fields.recipe ?? {}) as Fields;
  if (typeof bits !== 'number' || Number.isInteger(bits)) return;
  fields.recipe = recipe;
  fields.averageBits ??= bits;
}

function readSpecFile(file: string | undefined, workingDirectory: string): Fields {
  if (file === undefined) return {};
  const path = resolve(workingDirectory, file);
  try {
    const json: unknown = JSON.parse(readFileSync(path, 'utf8'));
    if (isObject(json)) return json;
  } catch (error) {
    throw new QuantloomError('WrongUse', `--spec ${path}: ${(error as Error).message}`, { cause: error });
  }
  throw new QuantloomError('WrongUse', `--spec ${basename(path)} holds no JSON object.`);
}

function set(fields: Fields, path: readonly string[], value: unknown): void {
  const [first, second] = path as [string, string?];
  if (second === undefined) fields[first] = value;
  else fields[first] = { ...(fields[first] as Fields | undefined), [second]: value };
}

function merge(target: Fields, source: Readonly<Fields>): void {
  for (const [key, value] of Object.entries(source)) {
    const before = target[key];
    if (Array.isArray(value) && key === 'overrides')
      target[key] = [...((before as unknown[] | undefined) ?? []), ...value];
    else target[key] = isObject(value) && isObject(before) ? { ...before, ...value } : value;
  }
}

function isObject(value: unknown): value is Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
