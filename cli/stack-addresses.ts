import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { dirname } from 'node:path';

export const STACK_HOST = '127.0.0.1';

/** Ports of the embedded server, kept so that its addresses stay the same from run to run. */
export interface StackPorts {
  readonly port: number;
  readonly uiPort: number;
}

export function readStackPorts(file: string): StackPorts | null {
  try {
    const { port, uiPort } = JSON.parse(readFileSync(file, 'utf8')) as Partial<StackPorts>;
    return Number.isInteger(port) && Number.isInteger(uiPort)
      ? { port: port as number, uiPort: uiPort as number }
      : null;
  } catch {
    return null;
  }
}

/** The ports of last time where they are free, else new ones; kept in `file`. */
export async function chooseStackPorts(file: string): Promise<StackPorts> {
  const before = readStackPorts(file);
  const port = await freePort(before?.port ?? 0);
  const uiPort = await freePort(before?.uiPort ?? 0, port);
  const ports = { port, uiPort };
  if (before?.port === port && before.uiPort === uiPort) return ports;
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(`${file}.new`, JSON.stringify(ports));
  renameSync(`${file}.new`, file);
  return ports;
}

async function freePort(wanted: number, taken?: number): Promise<number> {
  const listen = (port: number) =>
    new Promise<number | null>((resolve) => {
      const server = createServer();
      server.once('error', () => resolve(null));
      server.listen(port, STACK_HOST, () => {
        const address = server.address();
        server.close(() => resolve(typeof address === 'object' && address ? address.port : null));
      });
    });
  const port = await listen(wanted);
  return port !== null && port !== taken ? port : freePort(0, taken);
}
