import { QuantloomError } from '../../engine/spec';

export interface HostAndPort {
  readonly host: string;
  readonly port: number;
}

/** @throws QuantloomError WrongUse naming the variable. */
export function parseMetricsAddress(value: string | undefined): HostAndPort | null {
  if (!value) return null;
  const [, host, port] = /^(\[[0-9a-f:.]+\]|[^:\s]*):(\d{1,5})$/i.exec(value) ?? [];
  if (host !== undefined && Number(port) <= 65_535)
    return { host: host.replace(/^\[|\]$/g, '') || '0.0.0.0', port: Number(port) };
  throw new QuantloomError(
    'WrongUse',
    `QUANTLOOM_METRICS_ADDRESS is "${value}"; it must be HOST:PORT, such as 0.0.0.0:9464; port 0 takes a free one.`,
  );
}
