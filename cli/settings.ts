import { readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import envPaths from 'env-paths';
import { z } from 'zod';
import { type SourceAccess, sourceAccess } from '../engine/sources';
import { QuantloomError } from '../engine/spec';
import { type StorePlace, storePlace } from '../engine/store';

export const CONFIG_FILE = 'quantloom.config.json';

const ConfigFileSchema = z.strictObject({
  /** State: database of the embedded server, its logs, the Temporal binary. */
  home: z.string().min(1).optional(),
  /** Artifacts. */
  store: z.string().min(1).optional(),
  /** Models from elsewhere: fetched, or dequantized. */
  models: z.string().min(1).optional(),
  /** Threads of the numeric code, per worker process. */
  threads: z.int().min(1).max(1024).optional(),
  cpuWorkers: z.int().min(0).max(64).optional(),
  gpuWorkers: z.int().min(0).max(64).optional(),
  /** Fields of QuantizationSpec that flags and --spec override. */
  spec: z.record(z.string(), z.unknown()).optional(),
});

export interface Settings {
  readonly home: string;
  readonly store: StorePlace;
  readonly sources: SourceAccess;
  /** Null: the workers decide. */
  readonly threads: number | null;
  readonly cpuWorkers: number;
  readonly gpuWorkers: number;
  readonly specDefaults: Readonly<Record<string, unknown>>;
  readonly debug: boolean;
}

export interface SettingsSources {
  readonly flags: Readonly<Record<string, unknown>>;
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly workingDirectory: string;
}

/**
 * Settings in this order: flags, environment, `quantloom.config.json` in the working directory, defaults. Relative paths are
 * taken from the working directory.
 *
 * @throws QuantloomError WrongUse when the file or a variable cannot be understood.
 */
export function resolveSettings(sources: SettingsSources): Settings {
  const { flags, environment, workingDirectory } = sources;
  const file = readConfigFile(workingDirectory);
  const home = resolve(workingDirectory, text(environment, 'QUANTLOOM_HOME') ?? file.home ?? defaultHome());
  const models = text(environment, 'QUANTLOOM_MODELS') ?? file.models;
  const workers = flags.workers as number | undefined;
  return {
    home,
    store: storePlace({ home, workingDirectory, configured: file.store }, environment),
    sources: sourceAccess(models === undefined ? join(home, 'models') : resolve(workingDirectory, models), environment),
    threads: (flags.threads as number | undefined) ?? count(environment, 'QUANTLOOM_THREADS') ?? file.threads ?? null,
    cpuWorkers: (flags.cpuWorkers as number | undefined) ?? workers ?? file.cpuWorkers ?? 1,
    gpuWorkers: (flags.gpuWorkers as number | undefined) ?? workers ?? file.gpuWorkers ?? 1,
    specDefaults: file.spec ?? {},
    debug: environment.QUANTLOOM_DEBUG === '1',
  };
}

/** The XDG data home on Linux, its counterpart elsewhere. */
export function defaultHome(): string {
  return envPaths('quantloom', { suffix: '' }).data;
}

function readConfigFile(workingDirectory: string): z.output<typeof ConfigFileSchema> {
  const path = join(workingDirectory, CONFIG_FILE);
  let content: string;
  try {
    content = readFileSync(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return {};
    throw new QuantloomError('WrongUse', `${path} cannot be read: ${(error as Error).message}`, { cause: error });
  }
  let json: unknown;
  try {
    json = JSON.parse(content);
  } catch (error) {
    throw new QuantloomError('WrongUse', `${path} is not JSON: ${(error as Error).message}`, { cause: error });
  }
  const parsed = ConfigFileSchema.safeParse(json);
  if (parsed.success) return parsed.data;
  const faults = parsed.error.issues.map((issue) => `${issue.path.join('.') || '(whole file)'}: ${issue.message}`);
  throw new QuantloomError('WrongUse', `${path}: ${faults.join('; ')}`);
}

function text(environment: SettingsSources['environment'], name: string): string | undefined {
  return environment[name] || undefined;
}

function count(environment: SettingsSources['environment'], name: string): number | undefined {
  const value = text(environment, name);
  if (value === undefined) return undefined;
  const number = Number(value);
  if (Number.isInteger(number) && number >= 1) return number;
  throw new QuantloomError('WrongUse', `${name} is "${value}"; it must be a whole number of at least 1.`);
}
