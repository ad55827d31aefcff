export { CPU, type Device, type DeviceKind, deviceKind, deviceNamed, type ExecutionProvider, isCpu } from './device';
export { type DeviceName, type DeviceWish, parseDevice } from './device-name';
export { type FoundDevice, findDevice } from './find-device';
export { deviceOutOfMemory, isOutOfMemory, type TooMuchAtOnce } from './out-of-memory';
