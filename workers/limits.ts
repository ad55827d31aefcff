import { QuantloomError } from '../engine/spec';

const UNITS: Readonly<Record<string, number>> = { '': 1, K: 2 ** 10, M: 2 ** 20, G: 2 ** 30, T: 2 ** 40 };
const DEFAULT_GRACE_SECONDS = 5;
const MOST_GRACE_SECONDS = 86_400;

/**
 * A size such as `24GiB`; nothing, or 0: no bound (null).
 *
 * @param where what is named in the error: a flag or a variable. @throws QuantloomError WrongUse.
 */
export function parseMaxMemory(value: string | undefined, where: string): number | null {
  if (!value || value === '0') return null;
  const [, number, unit] = /^(\d+(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?$/i.exec(value.trim()) ?? [];
  if (number !== undefined) return Math.floor(Number(number) * (UNITS[(unit ?? '').toUpperCase()] as number));
  throw new QuantloomError('WrongUse', `${where} is "${value}"; it must be a size, such as 24GiB, or 0 for no bound.`);
}

/**
 * Whole seconds. Default 5.
 *
 * @throws QuantloomError WrongUse.
 */
export function parseShutdownGrace(value: string | undefined, where: string): number {
  if (!value) return DEFAULT_GRACE_SECONDS;
  const seconds = /^\d{1,5}$/.test(value) ? Number(value) : Number.NaN;
  if (seconds <= MOST_GRACE_SECONDS) return seconds;
  throw new QuantloomError(
    'WrongUse',
    `${where} is "${value}"; it must be a whole number of seconds, at most ${MOST_GRACE_SECONDS}`,
  );
}
