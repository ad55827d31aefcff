import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { QuantloomError } from '../../engine/spec';
import type { HostAndPort } from './metrics-address';

/** What a process answers on its page. */
export interface MetricsPage {
  /** In Prometheus' text format. */
  metrics(): Promise<string>;
  /** Why the process should be restarted; null: it is well. */
  unhealthy(): Promise<string | null>;
  /** Why it does not take work; null: it does. */
  unready(): string | null;
}

/** Serves `/metrics`, `/healthz` and `/readyz`. @returns the server and where it listens. */
export async function serveMetrics(
  { host, port }: HostAndPort,
  page: MetricsPage,
): Promise<{ server: Server; url: string }> {
  const answers: Readonly<Record<string, () => Promise<{ status: number; type: string; body: string }>>> = {
    '/metrics': async () => ({
      ...{ status: 200, type: 'text/plain; version=0.0.4; charset=utf-8' },
      body: await page.metrics(),
    }),
    '/healthz': async () => verdict(await page.unhealthy()),
    '/readyz': async () => verdict(page.unready()),
  };
  const server = createServer((request, response) => {
    const answer = answers[(request.url ?? '').split('?')[0] as string];
    const work = answer ? answer() : Promise.resolve({ status: 404, type: 'text/plain', body: 'not found\n' });
    work.then(
      ({ status, type, body }) => response.writeHead(status, { 'content-type': type }).end(body),
      (error: unknown) => response.writeHead(500, { 'content-type': 'text/plain' }).end(`${String(error)}\n`),
    );
  });
  server.listen(port, host);
  await Promise.race([
    once(server, 'listening'),
    once(server, 'error').then(([error]) => {
      throw new QuantloomError(
        'WrongUse',
        `QUANTLOOM_METRICS_ADDRESS: ${host}:${port} cannot be listened on: ${(error as Error).message}`,
      );
    }),
  ]);
  // Nobody waits for a scrape when the process is to end.
  server.unref();
  const bound = server.address() as AddressInfo;
  const name = bound.family === 'IPv6' ? `[${bound.address}]` : bound.address;
  return { server, url: `http://${name}:${bound.port}` };
}

function verdict(complaint: string | null) {
  return { status: complaint === null ? 200 : 503, type: 'text/plain', body: `${complaint ?? 'ok'}\n` };
}
