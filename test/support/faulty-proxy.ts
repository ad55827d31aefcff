import { once } from 'node:events';
import { Agent, createServer, type IncomingMessage, request, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

/**
 * What happens to a request. `cut`: the connection breaks before the server hears of it; `lost answer`: after it has done what was asked;
 * `broken answer`: in the middle of the answer. Numbers are a status to answer with, or milliseconds to wait before passing it on.
 */
export type Fault =
  | 'none'
  | 'cut'
  | 'lost answer'
  | 'broken answer'
  | { readonly status: number }
  | { readonly delayMs: number };

export interface SeenRequest {
  readonly method: string;
  /** With the query. */
  readonly path: string;
  readonly range: string | undefined;
}

/** Stands between a client and an HTTP server and spoils what it is told to. */
export class FaultyProxy {
  readonly requests: SeenRequest[] = [];
  /** Faults that were done, by kind. */
  readonly done = new Map<string, number>();
  fault: (seen: SeenRequest) => Fault = () => 'none';
  readonly #agent = new Agent({ keepAlive: true });

  private constructor(
    private readonly target: URL,
    private readonly server: Server,
  ) {}

  static async start(target: string): Promise<FaultyProxy> {
    const server = createServer();
    const proxy = new FaultyProxy(new URL(target), server);
    server.on('request', (asked, answer) => proxy.pass(asked, answer));
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    return proxy;
  }

  get endpoint(): string {
    return `http://127.0.0.1:${(this.server.address() as AddressInfo).port}`;
  }

  /** Requests of a method whose path matches. */
  count(method: string, path: RegExp): number {
    return this.requests.filter((seen) => seen.method === method && path.test(seen.path)).length;
  }

  async stop(): Promise<void> {
    this.server.closeAllConnections();
    this.#agent.destroy();
    this.server.close();
    await once(this.server, 'close');
  }

  private pass(asked: IncomingMessage, answer: ServerResponse): void {
    const seen = { method: asked.method ?? '', path: asked.url ?? '', range: asked.headers.range };
    this.requests.push(seen);
    const fault = this.fault(seen);
    const kind = typeof fault === 'string' ? fault : 'status' in fault ? String(fault.status) : 'delay';
    this.done.set(kind, (this.done.get(kind) ?? 0) + 1);
    asked.on('error', () => undefined);
    answer.on('error', () => undefined);
    if (fault === 'cut') {
      // Some of the body has been read by then.
      asked.once('data', () => asked.socket.destroy()).once('end', () => asked.socket.destroy());
      return;
    }
    if (typeof fault === 'object' && 'status' in fault) {
      asked.resume().once('end', () => {
        answer.writeHead(fault.status, { 'content-type': 'application/xml' });
        answer.end(`<Error><Code>${fault.status === 503 ? 'SlowDown' : 'InternalError'}</Code></Error>`);
      });
      return;
    }
    // A request that waits for hours holds up no end of the process.
    setTimeout(() => this.forward(asked, answer, fault), typeof fault === 'object' ? fault.delayMs : 0).unref();
  }

  private forward(asked: IncomingMessage, answer: ServerResponse, fault: Fault): void {
    const { expect: _, ...headers } = asked.headers;
    const { hostname: host, port } = this.target;
    const onward = request({ host, port, method: asked.method, path: asked.url, headers, agent: this.#agent });
    onward.on('error', () => asked.socket.destroy());
    onward.on('response', (answered) => {
      answered.on('error', () => asked.socket.destroy());
      if (fault === 'lost answer') {
        answered.resume().once('end', () => asked.socket.destroy());
        return;
      }
      answer.writeHead(answered.statusCode ?? 500, answered.headers);
      if (fault !== 'broken answer') {
        answered.pipe(answer);
        return;
      }
      const half = Number(answered.headers['content-length'] ?? 0) / 2;
      let sent = 0;
      answered.on('data', (chunk: Buffer) => {
        const part = chunk.subarray(0, Math.max(0, Math.ceil(half - sent)));
        sent += part.length;
        answer.write(part, () => sent >= half && asked.socket.destroy());
      });
      answered.on('end', () => asked.socket.destroy());
    });
    asked.pipe(onward);
  }
}
