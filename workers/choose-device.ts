import { type Device, type DeviceWish, findDevice } from '../engine/devices';
import { logLine } from './worker-log';

/**
 * The device that a worker of `gpu` computes on, tried out before it takes work; what `auto` has passed over stands in the log.
 *
 * @throws QuantloomError DeviceUnavailable.
 */
export async function chooseDevice(wish: DeviceWish): Promise<Device> {
  const { device, passedOver } = await findDevice(wish);
  const notThere = Object.keys(passedOver).length > 0;
  logLine('device', { device: device.name, asked: wish, ...(notThere && { notThere: passedOver }) });
  return device;
}
