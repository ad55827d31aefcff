import { spawn } from 'node:child_process';
import { EventEmitter, once } from 'node:events';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { extname, join, normalize } from 'node:path';

const TYPES: Readonly<Record<string, string>> = {
  '.html': 'text/html',
  '.js': 'text/javascript',
  '.json': 'application/json',
  '.mjs': 'text/javascript',
  '.wasm': 'application/wasm',
};

export interface BrowserPage {
  /** Path of a Chromium. */
  readonly browser: string;
  /** The page; it ends with a POST of JSON to `/result`. */
  readonly html: string;
  /** Directories by the first part of an address: what the page may load. */
  readonly directories: Readonly<Record<string, string>>;
  /** Milliseconds. */
  readonly patience: number;
}

/** Runs a page in a headless browser that sees this server and nothing else. @returns what the page posts. */
export async function runInBrowser({ browser, html, directories, patience }: BrowserPage): Promise<unknown> {
  const profile = await mkdtemp(join(tmpdir(), 'quantloom-browser-'));
  const page = new EventEmitter();
  const posted = once(page, 'result');
  // What fails later, fails because it is over.
  page.on('error', () => undefined);
  const server = createServer((request, response) => {
    serve(request, response).catch(() => response.writeHead(404).end());
  });
  async function serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const path = decodeURIComponent(new URL(request.url ?? '/', 'http://page').pathname);
    if (path === '/result') {
      const parts: Buffer[] = [];
      for await (const part of request) parts.push(part as Buffer);
      response.end();
      page.emit('result', JSON.parse(Buffer.concat(parts).toString('utf8')));
      return;
    }
    if (path === '/') {
      response.writeHead(200, { 'content-type': 'text/html' }).end(html);
      return;
    }
    const [, first = '', ...others] = normalize(path).split('/');
    const content = await readFile(join(directories[first] as string, ...others));
    const headers = { 'content-type': TYPES[extname(path)] ?? 'application/octet-stream' };
    response.writeHead(200, { ...headers, 'content-length': content.byteLength }).end(content);
  }
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  const flags = [
    '--headless',
    '--no-sandbox',
    '--disable-gpu',
    '--disable-dev-shm-usage',
    `--user-data-dir=${profile}`,
  ];
  const child = spawn(browser, [...flags, `http://127.0.0.1:${port}/`], {
    detached: true,
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  const errors: Buffer[] = [];
  child.stderr.on('data', (part: Buffer) => errors.push(part));
  const ended = new Promise<void>((resolve) => child.once('close', () => resolve()));
  const fail = (what: string) => page.emit('error', new Error(`${what}: ${Buffer.concat(errors).toString('utf8')}`));
  child.once('error', (error) => fail(error.message));
  child.once('exit', () => fail('The browser ended'));
  const timer = setTimeout(() => fail('The page posted nothing'), patience);
  try {
    return (await posted)[0];
  } finally {
    clearTimeout(timer);
    // Its helpers are of its process group.
    if (child.pid !== undefined && child.exitCode === null) process.kill(-child.pid, 'SIGKILL');
    await ended;
    server.closeAllConnections();
    server.close();
    await rm(profile, { recursive: true, force: true, maxRetries: 5 });
  }
}
