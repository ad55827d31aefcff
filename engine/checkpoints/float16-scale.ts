import { FLOAT16_MAX } from '../numbers';
import { QuantloomError } from '../spec';

/** @throws QuantloomError UnsupportedInput when a file cannot hold the scale in float16, or it is none. */
export function requireFloat16Scale(name: string, scale: number, row: number, group: number): void {
  if (scale > 0 && scale <= FLOAT16_MAX) return;
  throw new QuantloomError(
    'UnsupportedInput',
    `${name}: the scale of row ${row}, group ${group} is ${scale}; the file holds float16, greater than 0 and at most ${FLOAT16_MAX}. ` +
      'Check the source weight of that row for extreme values.',
    { details: { name, row, group, scale } },
  );
}
