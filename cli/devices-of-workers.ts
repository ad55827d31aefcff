import { type DeviceWish, parseDevice } from '../engine/devices/device-name';

/**
 * What the gpu workers of an embedded stack compute on, in turns: QUANTLOOM_DEVICE is one device, or a list with commas, one for each.
 *
 * @throws QuantloomError WrongUse.
 */
export function devicesOfWorkers(environment: Readonly<Record<string, string | undefined>>): readonly DeviceWish[] {
  const names = (environment.QUANTLOOM_DEVICE ?? '').split(',');
  return names.map((name) => parseDevice(name.trim(), 'QUANTLOOM_DEVICE'));
}
