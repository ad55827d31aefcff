import { hostname } from 'node:os';

/**
 * What Temporal calls a worker process: `NAME:PID@HOST`, or `gpu-cuda0:PID@HOST`. The device of a worker of `gpu` is part of the name. undefined:
 * as the SDK calls it, `PID@HOST`.
 */
export function workerIdentity({
  name,
  device,
}: {
  readonly name?: string | undefined;
  readonly device: string | null;
}): string | undefined {
  const words = [name ?? (device === null ? [] : 'gpu'), device === null ? [] : device.replace(':', '')].flat();
  return words.length === 0 ? undefined : `${words.join('-')}:${process.pid}@${hostname()}`;
}
