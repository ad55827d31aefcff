import { createHash } from 'node:crypto';
import { nameOfModel } from '../engine/sources';
import type { QuantizationSpec } from '../engine/spec';

/** Readable name of what a spec asks for, e.g. `gptq-4bit-g128`, `rtn-3bit-row-asym`, `gptq-3.5bit-g64`, `kquants-q4_k_m`. */
export function schemeName({
  recipe,
  averageBits,
  formats = [],
  importanceOnly,
}: Pick<QuantizationSpec, 'recipe' | 'averageBits'> &
  Partial<Pick<QuantizationSpec, 'formats' | 'importanceOnly'>>): string {
  if (importanceOnly) return 'imatrix';
  if (recipe.method === 'stored') return formats.join('-').replaceAll(':', '-');
  const mix = formats.map((format) => format.split(':')[1]).find((name) => name !== undefined);
  if (mix !== undefined) return `${recipe.method}-${mix}`;
  if (recipe.floatType) {
    const { activations = 'fp8' } = recipe;
    const inputs = { none: '-weights', int8: '', fp8: '', 'fp8-static': '-static', mxfp4: '-a4', nvfp4: '-a4' }[
      activations
    ];
    return `${recipe.method}-${recipe.floatType}${inputs}`;
  }
  if (recipe.activations === 'int8') return `${recipe.method}-w${recipe.bits}a8`;
  const group = recipe.perTensor ? 'tensor' : recipe.groupSize === -1 ? 'row' : `g${recipe.groupSize}`;
  return `${recipe.method}-${averageBits ?? recipe.bits}bit-${group}${recipe.symmetric ? '' : '-asym'}`;
}

/** Last part of the model's path, in characters that are safe in file names and URLs. */
export function modelName(model: string): string {
  return nameOfModel(model).replaceAll(/[^A-Za-z0-9._-]+/g, '-') || 'model';
}

/**
 * Id of the job: `<model>-<scheme>-<8 hex>`. The hex digits are of the SHA-256 of the resolved spec in canonical form (sorted keys), so
 * that the same command finds its own job again. `overwrite`, `concurrency` and `solveParts` are left out: they do not change the result.
 */
export function workflowIdOf(spec: QuantizationSpec): string {
  return `${modelName(spec.model)}-${schemeName(spec)}-${specIdentity(spec).slice(0, 8)}`;
}

/** SHA-256 of the resolved spec, lower-case hex. */
export function specIdentity(spec: QuantizationSpec): string {
  const { overwrite: _overwrite, concurrency: _concurrency, solveParts: _parts, ...identity } = spec;
  return createHash('sha256').update(canonicalJson(identity)).digest('hex');
}

function canonicalJson(value: unknown): string {
  return JSON.stringify(value, (_key, part: unknown) =>
    typeof part === 'object' && part !== null && !Array.isArray(part)
      ? Object.fromEntries(Object.entries(part).sort(([a], [b]) => (a < b ? -1 : 1)))
      : part,
  );
}
