import { InvalidArgumentError } from 'commander';

/** Parsers for values of flags. Commander turns their error into a message that names the flag, and exit code 2. */
export function wholeNumber(value: string): number {
  if (!/^-?\d+$/.test(value)) throw new InvalidArgumentError('It must be a whole number.');
  return Number(value);
}

export function realNumber(value: string): number {
  const number = Number(value);
  if (value.trim() === '' || !Number.isFinite(number)) throw new InvalidArgumentError('It must be a number.');
  return number;
}

export function commaList(value: string): string[] {
  return value
    .split(',')
    .map((item) => item.trim())
    .filter((item) => item !== '');
}

/** For flags that can be repeated. */
export function collected(value: string, previous: readonly string[] | undefined): string[] {
  return [...(previous ?? []), value];
}

const UNIT_SECONDS: Readonly<Record<string, number>> = { s: 1, m: 60, h: 3600, d: 86400, w: 604800 };

/** `90s`, `30m`, `12h`, `7d`, `2w`, or `0`. @returns seconds. */
export function durationSeconds(value: string): number {
  if (value === '0') return 0;
  const match = /^(\d+)([smhdw])$/.exec(value);
  if (!match) throw new InvalidArgumentError('It must be a whole number with a unit: 90s, 30m, 12h, 7d, 2w.');
  return Number(match[1]) * (UNIT_SECONDS[match[2] as string] as number);
}
