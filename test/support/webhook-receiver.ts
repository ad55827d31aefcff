import { createServer, type IncomingHttpHeaders, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';

export interface ReceivedMessage {
  readonly path: string;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
}

/** An HTTP server that keeps what is posted to it. */
export class WebhookReceiver {
  readonly received: ReceivedMessage[] = [];
  /** Status of the answers to come; when they are used up, 200. */
  readonly answers: number[] = [];

  private constructor(private readonly server: Server) {}

  static async start(): Promise<WebhookReceiver> {
    const server = createServer();
    const receiver = new WebhookReceiver(server);
    server.on('request', async (request, response) => {
      const body = await text(request);
      receiver.received.push({ path: `${request.method} ${request.url}`, headers: request.headers, body });
      response.writeHead(receiver.answers.shift() ?? 200).end('ok');
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    return receiver;
  }

  get address(): string {
    return `http://127.0.0.1:${(this.server.address() as AddressInfo).port}`;
  }

  /** What was told of a run, in order. */
  of(run: string): ReceivedMessage[] {
    return this.received.filter(({ body }) => body.includes(JSON.stringify(run)));
  }

  async close(): Promise<void> {
    this.server.closeAllConnections();
    await new Promise((resolve) => this.server.close(resolve));
  }
}
