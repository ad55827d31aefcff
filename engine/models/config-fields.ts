import { QuantloomError } from '../spec';

/** config.json. */
export type Config = Readonly<Record<string, unknown>>;

/** A field whose presence changes the forward pass in a way that is not computed here, with the values that are harmless. */
export interface RefusedField {
  readonly field: string;
  readonly harmless: readonly unknown[];
  readonly feature: string;
}

/** @throws QuantloomError UnsupportedArchitecture naming the first field with another value than its harmless ones. */
export function refuseFeatures(config: Config, refused: readonly RefusedField[], architecture: string): void {
  for (const { field, harmless, feature } of refused) {
    const value = config[field];
    if (value === undefined || value === null || harmless.includes(value)) continue;
    const found = `${feature} (config.json: ${field} = ${JSON.stringify(value)})`;
    throw unsupported(found, harmless.length > 0 ? `${field} = ${harmless.join(', ')}` : 'none', architecture);
  }
}

export function isObject(value: unknown): value is Config {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** @throws QuantloomError InvalidModel. */
export function positive(config: Config, field: string, fallback?: number, prefix = ''): number {
  const value = config[field] ?? fallback;
  if (typeof value === 'number' && Number.isFinite(value) && value > 0) return value;
  throw invalid(prefix + field, config[field], 'a positive number');
}

/** @throws QuantloomError InvalidModel. */
export function size(config: Config, field: string, fallback?: number): number {
  const value = config[field] ?? fallback;
  if (typeof value === 'number' && Number.isSafeInteger(value) && value > 0) return value;
  throw invalid(field, value, 'a positive integer');
}

export function invalid(field: string, value: unknown, expected: string): QuantloomError {
  const found = value === undefined || value === null ? 'is missing' : `is ${JSON.stringify(value)}`;
  return new QuantloomError(
    'InvalidModel',
    `config.json: ${field} ${found}; expected ${expected}. Fix the field or fetch the model again.`,
    { details: { field } },
  );
}

export function unsupported(found: string, supported: string, architecture: string): QuantloomError {
  return new QuantloomError(
    'UnsupportedArchitecture',
    `The model uses ${found}, which the ${architecture} architecture does not implement. Supported: ${supported}.`,
    { details: { found, supported } },
  );
}
