import type { CheckRecord } from './check';
import type { GptqWeights } from './decode-gptq';
import type { RawLinear } from './read-raw-linear';

const SMALLEST_NORMAL_FLOAT16 = 2 ** -14;

/** @returns whether every column is in a group that exists. */
export function checkGroups(module: string, { K, G, groupOf }: RawLinear, check: CheckRecord): boolean {
  const before = check.findingCount;
  for (let column = 0; column < K; column++) {
    const group = groupOf[column] as number;
    check.expect(group >= 0 && group < G, () => `${module}.g_idx: column ${column} is in group ${group} of ${G}`);
  }
  return check.findingCount === before;
}

/** @returns how many are subnormal. */
export function checkScales(module: string, scales: Float32Array, N: number, check: CheckRecord): number {
  let subnormal = 0;
  scales.forEach((scale, at) => {
    check.expect(
      scale > 0 && Number.isFinite(scale),
      () => `${module}.scales: ${scale} in group ${Math.floor(at / N)}, row ${at % N}`,
    );
    if (scale > 0 && scale < SMALLEST_NORMAL_FLOAT16) subnormal++;
  });
  return subnormal;
}

export function checkZeros(
  module: string,
  raw: RawLinear,
  { storedZeros, zeroOffset }: GptqWeights,
  check: CheckRecord,
): void {
  const largest = 2 ** raw.bits - 1;
  const middle = 2 ** (raw.bits - 1);
  storedZeros.forEach((stored, at) => {
    const zero = stored + zeroOffset;
    const where = () => `group ${Math.floor(at / raw.N)}, row ${at % raw.N}`;
    check.expect(
      zero <= largest,
      () =>
        `${module}.qzeros: the file holds ${stored} in ${where()}; one more is no zero point of ${raw.bits} bits, and readers wrap it around to 0`,
    );
    if (raw.symmetric && zero !== middle) {
      check.find(
        `${module}.qzeros: zero point ${zero} in ${where()}, but ${raw.describedBy} symmetric, which is ${middle}`,
      );
    }
  });
}
