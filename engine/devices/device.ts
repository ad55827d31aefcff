import type { DeviceName } from './device-name';

/** Of onnxruntime. */
export type ExecutionProvider = 'cpu' | 'webgpu' | { readonly name: 'cuda'; readonly deviceId: number };

/** Where the matrix products of a process are computed, and how much it takes at once. */
export interface Device {
  readonly name: DeviceName;
  /** Best first. onnxruntime computes on the CPU what the first one does not know. */
  readonly executionProviders: readonly ExecutionProvider[];
  /** Bounds on a batch of a stage; see stageBatchSequences. Absent: what suits a CPU's caches. */
  readonly batchTokens?: number;
  readonly temporaryBytes?: number;
}

export const CPU: Device = { name: 'cpu', executionProviders: ['cpu'] };

/**
 * Weights are inputs of the graphs, so each batch carries them to the device: several times the tokens of a CPU's batch make that cheap.
 * Memory that turns out to be smaller is found out, and the batch with it.
 */
const DEVICE_BATCH = { batchTokens: 8192, temporaryBytes: 2 ** 31 };

/** The device of a name, there or not. */
export function deviceNamed(name: DeviceName): Device {
  if (name === 'cpu') return CPU;
  const provider = name === 'webgpu' ? name : ({ name: 'cuda', deviceId: Number(name.slice('cuda:'.length)) } as const);
  return { name, executionProviders: [provider], ...DEVICE_BATCH };
}

/** Devices of a kind are taken to round alike. */
export type DeviceKind = 'cpu' | 'webgpu' | 'cuda';

export function deviceKind({ name }: Device): DeviceKind {
  return name.startsWith('cuda') ? 'cuda' : (name as 'cpu' | 'webgpu');
}

/** Whether onnxruntime computes on the CPU, so that native kernels may take its place. */
export function isCpu(executionProviders: readonly ExecutionProvider[] = CPU.executionProviders): boolean {
  return executionProviders[0] === 'cpu';
}
