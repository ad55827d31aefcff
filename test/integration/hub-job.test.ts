import { once } from 'node:events';
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { resolveModelDirectory } from '../../engine/sources';
import { HubServer, type Mischief } from '../support/hub-server';
import { runCli, startCli } from '../support/run-cli';
import { until } from '../support/until';
import { descendantsOf, survivorsOf } from './process-tree';

const DEMO = resolveModelDirectory('demo');
const TOKEN = 'hf_sesame';
/** Of one answer's bytes. */
const CHUNK_BYTES = 1 << 17;

test('kill -9 in the middle of a download: nothing is fetched twice, and the result is that of the directory', async () => {
  const root = await mkdtemp(join(tmpdir(), 'quantloom-hub-job-'));
  const files: Record<string, Buffer> = {};
  for (const name of (await readdir(DEMO)).filter((entry) => /json$|safetensors$/.test(entry))) {
    files[name] = await readFile(join(DEMO, name));
  }
  const weights = files['model.safetensors'] as Buffer;
  const hub = await HubServer.start({
    'some/demo': { files, large: (path) => path.endsWith('.safetensors'), token: TOKEN },
  });
  let sent = 0;
  /** The weights in small pieces, slowly. */
  const slowly: Mischief = (request, response, body) => {
    const [, begin, end] = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? '') ?? [];
    if (!request.url?.endsWith('.safetensors') || end) return false;
    let at = Number(begin ?? 0);
    response.writeHead(begin ? 206 : 200, {
      'content-length': body.length - at,
      ...(begin && { 'content-range': `bytes ${at}-${body.length - 1}/${body.length}` }),
    });
    const timer = setInterval(() => {
      const chunk = body.subarray(at, at + CHUNK_BYTES);
      at += chunk.length;
      sent += chunk.length;
      if (at === body.length) {
        clearInterval(timer);
        response.end(chunk);
      } else response.write(chunk);
    }, 20);
    response.on('close', () => clearInterval(timer));
    return true;
  };
  hub.mischief = slowly;
  const environment = { HF_ENDPOINT: hub.endpoint, HF_TOKEN: TOKEN };
  const place = { home: join(root, 'home'), workingDirectory: root, environment };
  const recipe = ['--method', 'rtn', '--json', '--threads', '1'];
  const command = ['quantize', 'hf:some/demo', ...recipe, '--out', 'from-hub'];
  try {
    const program = startCli(command, place);
    program.stdout.resume();
    program.stderr.resume();
    await until(async () => sent > weights.length / 3);
    const processes = descendantsOf(program.pid as number);
    for (const pid of [program.pid as number, ...processes.map((process) => process.pid)]) process.kill(pid, 'SIGKILL');
    await Promise.all([once(program, 'close'), survivorsOf(processes, 10_000)]);
    expect(sent).toBeLessThan(weights.length);

    const again = await runCli(command, place);
    expect({ code: again.code, stderr: again.code === 0 ? '' : again.stderr }).toEqual({ code: 0, stderr: '' });
    // What was under way when the processes were killed had not arrived.
    expect(sent).toBeLessThan(weights.length + 16 * CHUNK_BYTES);
    expect(hub.requests.filter((request) => request.endsWith('/tokenizer.json'))).toHaveLength(1);
    expect(hub.leaked).toEqual([]);

    const fromDirectory = await runCli(['quantize', DEMO, ...recipe, '--out', 'from-directory'], place);
    expect(fromDirectory.code).toBe(0);
    const shards = (await readdir(join(root, 'from-hub'))).filter((name) => name.endsWith('.safetensors'));
    expect(shards.length).toBeGreaterThan(0);
    for (const name of shards) {
      const [one, other] = await Promise.all(
        ['from-hub', 'from-directory'].map((output) => readFile(join(root, output, name))),
      );
      expect({ name, same: one?.equals(other as Buffer) }).toEqual({ name, same: true });
    }
    const manifest = JSON.parse(await readFile(join(root, 'from-hub', 'quantloom.json'), 'utf8'));
    expect(manifest.source.address).toMatch(/^hf:some\/demo@[0-9a-f]{40}$/);

    const { stdout } = await runCli(['logs', manifest.run.job, '--json'], place);
    for (const text of [stdout, again.stdout, again.stderr, JSON.stringify(manifest)])
      expect(text).not.toContain(TOKEN);
    const done = await runCli(command, place);
    expect(JSON.parse(done.stdout)).toMatchObject({ state: 'already-there' });
  } finally {
    await hub.close();
    await rm(root, { recursive: true, force: true, maxRetries: 5 });
  }
}, 300_000);
