import type { QuantizedLinear } from '../quantizers/quantized-linear';
import type { SignedReport } from './assemble-checkpoint';
import type { CheckpointFormat, FormatName } from './format';
import type { WeightForm } from './weight-form';

/** By module: the digest of what readers of a format get, where that is not to the last bit what the quantizer meant. */
export type StoredDigests = Readonly<Record<string, string>>;

/** @returns undefined when the format holds all of them to the last bit. */
export function storedDigests(
  format: CheckpointFormat,
  linears: Iterable<readonly [module: string, linear: QuantizedLinear]>,
  forms: Readonly<Record<string, WeightForm>> = {},
): StoredDigests | undefined {
  if (!format.storedWeightSha256) return undefined;
  const digests: Record<string, string> = {};
  for (const [module, linear] of linears) {
    const digest = format.storedWeightSha256(linear, forms[module]);
    if (digest !== null) digests[module] = digest;
  }
  return Object.keys(digests).length > 0 ? digests : undefined;
}

/** Reports that know what readers of this format get. */
export function withStoredDigests(
  reports: readonly SignedReport[],
  format: FormatName,
  digests: StoredDigests | undefined,
): readonly SignedReport[] {
  if (!digests) return reports;
  return reports.map((report) => {
    const digest = digests[report.name];
    return digest ? { ...report, weightSha256In: { ...report.weightSha256In, [format]: digest } } : report;
  });
}
