import type { CheckRecord } from './check';
import type { RawLinear } from './raw-linear';

const SMALLEST_NORMAL_FLOAT16 = 2 ** -14;

/** @returns whether every column is in a group that exists. */
export function checkGroups(module: string, { groups }: RawLinear, check: CheckRecord): boolean {
  if (!groups) return true;
  const before = check.findingCount;
  groups.ofColumn.forEach((group, column) => {
    check.expect(
      group >= 0 && group < groups.count,
      () => `${module}.${groups.part}: column ${column} is in group ${group} of ${groups.count}`,
    );
  });
  return check.findingCount === before;
}

/** @returns how many are subnormal float16. */
export function checkScales(module: string, { scales, inputScale }: RawLinear, check: CheckRecord): number {
  const { part, dtype, values, where, signed } = scales;
  let subnormal = 0;
  values.forEach((scale, at) => {
    check.expect((signed || scale > 0) && Number.isFinite(scale), () => `${module}.${part}: ${scale} in ${where(at)}`);
    if (dtype === 'F16' && scale > 0 && scale < SMALLEST_NORMAL_FLOAT16) subnormal++;
  });
  inputScale?.values.forEach((scale) => {
    check.expect(scale > 0 && Number.isFinite(scale), () => `${module}.${inputScale.part}: ${scale}`);
  });
  return subnormal;
}

export function checkZeros(module: string, { zeros }: RawLinear, describedBy: string, check: CheckRecord): void {
  if (!zeros) return;
  const { part, values, offset, bits, symmetric, where } = zeros;
  const largest = 2 ** bits - 1;
  const middle = 2 ** (bits - 1);
  values.forEach((stored, at) => {
    const zero = stored + offset;
    check.expect(
      zero <= largest,
      () =>
        `${module}.${part}: the file holds ${stored} in ${where(at)}; one more is no zero point of ${bits} bits, and readers wrap it around to 0`,
    );
    if (symmetric && zero !== middle) {
      check.find(
        `${module}.${part}: zero point ${zero} in ${where(at)}, but ${describedBy} symmetric, which is ${middle}`,
      );
    }
  });
}
