import { createHash } from 'node:crypto';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

export const COMMIT = '0123456789abcdef0123456789abcdef01234567';

export interface HubModel {
  readonly files: Readonly<Record<string, Buffer>>;
  /** Files that are stored as LFS: resolved by a redirect to another host, with their SHA-256 in lists. */
  readonly large: (path: string) => boolean;
  readonly token?: string;
}

/** What is to go wrong: called for every request for content; true: it has been answered. */
export type Mischief = (request: IncomingMessage, response: ServerResponse, content: Buffer) => boolean;

/**
 * A server that speaks the hub's protocol: model info, lists page by page, `resolve` with redirects to a second origin (the CDN) for large
 * files, ranges, tokens and gated models. No Xet.
 */
export class HubServer {
  readonly requests: string[] = [];
  /** Authorization headers that reached the CDN: there must be none. */
  readonly leaked: string[] = [];
  /** Bytes of content that were sent, by path. */
  readonly sent = new Map<string, number>();
  mischief: Mischief | null = null;
  /** An answer in place of the API's, by status, headers and body. */
  api: { status: number; headers?: Record<string, string>; body: string } | null = null;

  private constructor(
    private readonly models: Readonly<Record<string, HubModel>>,
    private readonly hub: Server,
    private readonly cdn: Server,
  ) {}

  static async start(models: Readonly<Record<string, HubModel>>): Promise<HubServer> {
    const [hub, cdn] = [createServer(), createServer()];
    const server = new HubServer(models, hub, cdn);
    hub.on('request', (request, response) => server.answer(request, response));
    cdn.on('request', (request, response) => server.serveLarge(request, response));
    for (const one of [hub, cdn]) await new Promise<void>((resolve) => one.listen(0, '127.0.0.1', resolve));
    return server;
  }

  get endpoint(): string {
    return `http://127.0.0.1:${(this.hub.address() as AddressInfo).port}`;
  }

  async close(): Promise<void> {
    for (const one of [this.hub, this.cdn]) {
      one.closeAllConnections();
      await new Promise((resolve) => one.close(resolve));
    }
  }

  private answer(request: IncomingMessage, response: ServerResponse): unknown {
    const { pathname, searchParams } = new URL(request.url as string, this.endpoint);
    this.requests.push(`${request.method} ${pathname}`);
    const [, api, name = ''] = /^(\/api\/models)?\/([^/]+\/[^/]+)\//.exec(pathname) ?? [];
    const model = this.models[name];
    if (api && this.api) return response.writeHead(this.api.status, this.api.headers).end(this.api.body);
    if (!model) return refuse(response, 404, 'RepoNotFound', 'Repository not found');
    if (model.token && request.headers.authorization !== `Bearer ${model.token}`) {
      return request.headers.authorization
        ? refuse(response, 403, 'GatedRepo', `Access to model ${name} is restricted`)
        : refuse(response, 401, 'GatedRepo', `Access to model ${name} is restricted`);
    }
    const rest = pathname.slice(pathname.indexOf(name) + name.length);
    if (api && rest.startsWith('/revision/')) {
      if (!['HEAD', 'main', COMMIT].includes(rest.slice('/revision/'.length)))
        return refuse(response, 404, 'RevisionNotFound', 'Invalid rev id');
      return json(response, {
        _id: '1',
        id: name,
        sha: COMMIT,
        private: false,
        gated: false,
        lastModified: '2024-01-01',
      });
    }
    if (api && rest.startsWith(`/tree/${COMMIT}`)) return this.list(model, searchParams, pathname, response);
    const [, path = ''] = new RegExp(`^/resolve/${COMMIT}/(.*)$`).exec(rest) ?? [];
    const content = model.files[decodeURIComponent(path)];
    if (!content) return refuse(response, 404, 'EntryNotFound', 'Entry not found');
    if (model.large(path)) {
      const location = `http://127.0.0.1:${(this.cdn.address() as AddressInfo).port}/${name}/${path}`;
      const headers = { location, 'x-linked-size': content.length, 'x-linked-etag': `"${sha256(content)}"` };
      return response.writeHead(302, headers).end();
    }
    this.serve(request, response, path, content);
  }

  /** Two entries a page, as the hub has a thousand. */
  private list(model: HubModel, query: URLSearchParams, pathname: string, response: ServerResponse): void {
    const all = Object.entries(model.files).map(([path, content]) => ({
      type: 'file',
      path,
      size: content.length,
      oid: gitBlob(content),
      ...(model.large(path) && { lfs: { oid: sha256(content), size: content.length, pointerSize: 130 } }),
    }));
    const from = Number(query.get('cursor') ?? 0);
    const next = `${this.endpoint}${pathname}?recursive=true&expand=false&cursor=${from + 2}`;
    json(response, all.slice(from, from + 2), from + 2 < all.length ? { link: `<${next}>; rel="next"` } : {});
  }

  private serveLarge(request: IncomingMessage, response: ServerResponse): void {
    if (request.headers.authorization) this.leaked.push(request.headers.authorization);
    const [, owner, name, ...path] = decodeURIComponent(request.url as string).split('/');
    const content = this.models[`${owner}/${name}`]?.files[path.join('/')] as Buffer;
    this.serve(request, response, path.join('/'), content);
  }

  private serve(request: IncomingMessage, response: ServerResponse, path: string, content: Buffer): unknown {
    if (this.mischief?.(request, response, content)) return;
    const [, begin, end] = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? '') ?? [];
    const from = Number(begin ?? 0);
    const to = end ? Math.min(Number(end), content.length - 1) : content.length - 1;
    const headers = { 'content-length': to - from + 1, 'content-type': 'application/octet-stream' };
    this.sent.set(path, (this.sent.get(path) ?? 0) + to - from + 1);
    if (begin === undefined) return response.writeHead(200, headers).end(content);
    response.writeHead(206, { ...headers, 'content-range': `bytes ${from}-${to}/${content.length}` });
    response.end(content.subarray(from, to + 1));
  }
}

export function sha256(content: Buffer): string {
  return createHash('sha256').update(content).digest('hex');
}

function gitBlob(content: Buffer): string {
  return createHash('sha1').update(`blob ${content.length}\0`).update(content).digest('hex');
}

function json(response: ServerResponse, value: unknown, headers: Record<string, string> = {}): void {
  response.writeHead(200, { 'content-type': 'application/json; charset=utf-8', ...headers }).end(JSON.stringify(value));
}

function refuse(response: ServerResponse, status: number, code: string, error: string): void {
  response.writeHead(status, { 'content-type': 'application/json', 'x-error-code': code, 'x-error-message': error });
  response.end(JSON.stringify({ error }));
}
