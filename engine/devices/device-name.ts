import { QuantloomError } from '../spec';

/** A device that can be asked for by name. `cuda:N` is the N-th GPU that the CUDA driver shows to the process. */
export type DeviceName = 'cpu' | 'webgpu' | `cuda:${number}`;

/** Or the best one that there is. */
export type DeviceWish = DeviceName | 'auto';

/** GPUs of one machine; a bound on the values of a label. */
const MOST_GPUS = 64;

/**
 * `cpu`, `webgpu`, `cuda` (which is `cuda:0`), `cuda:N`, `auto`. Nothing: `cpu`.
 *
 * @param where what is named in the error: a flag or a variable.
 * @throws QuantloomError WrongUse.
 */
export function parseDevice(value: string | undefined, where: string): DeviceWish {
  if (!value) return 'cpu';
  if (value === 'cpu' || value === 'webgpu' || value === 'auto') return value;
  const [, number = '0'] = /^cuda(?::(\d{1,2}))?$/.exec(value) ?? [null, 'none'];
  if (Number(number) < MOST_GPUS) return `cuda:${Number(number)}`;
  throw new QuantloomError(
    'WrongUse',
    `${where} is "${value}"; it must be cpu, webgpu, cuda:N (N from 0 to ${MOST_GPUS - 1}) or auto`,
  );
}
