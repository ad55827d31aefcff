import { setTimeout as sleep } from 'node:timers/promises';
import { listFiles, modelInfo } from '@huggingface/hub';
import { QuantloomError } from '../../spec';
import type { ModelSource, RemoteFile } from '../remote/model-source';
import type { SourceAccess } from '../remote/source-access';
import { isCommit, parseHubAddress } from './hub-address';
import { hubEndpoint, hubFetch, unreachable } from './hub-fetch';

/** Models of the Hugging Face hub, or of what speaks its protocol. A commit of the repository is what an address is pinned to. */
export const hubSource: ModelSource = {
  scheme: 'hf:',

  isPinned: (address) => isCommit(parseHubAddress(address).revision),

  async pin(address, access, signal) {
    const { repository, revision } = parseHubAddress(address);
    if (isCommit(revision)) return `hf:${repository}@${revision}`;
    const info = await answered(access, signal, () =>
      modelInfo({
        ...hubParameters(repository, access, signal),
        name: repository,
        revision,
        additionalFields: ['sha'],
      }),
    );
    if (typeof info.sha === 'string' && isCommit(info.sha)) return `hf:${repository}@${info.sha}`;
    throw notTheHub(access, `no commit for ${repository}`);
  },

  folder(pinned) {
    const { repository, revision } = parseHubAddress(pinned);
    const [name, owner = '_'] = repository.split('/').reverse() as [string, string?];
    return `hub/${owner}/${revision}/${name}`;
  },

  async files(pinned, access, signal) {
    const { repository, revision } = parseHubAddress(pinned);
    return answered(access, signal, async () => {
      const files: RemoteFile[] = [];
      const entries = listFiles({
        ...hubParameters(repository, access, signal),
        repo: { type: 'model', name: repository },
        revision,
        recursive: true,
      });
      for await (const { type, path, size, oid, lfs } of entries) {
        if (type !== 'file') continue;
        if (typeof path !== 'string' || !Number.isSafeInteger(size)) throw notTheHub(access, 'a file without a name');
        const digest = lfs
          ? ({ algorithm: 'sha256', hex: lfs.oid } as const)
          : oid
            ? ({ algorithm: 'git-blob', hex: oid } as const)
            : null;
        const bytes = lfs?.size ?? size;
        files.push({
          path,
          bytes,
          digest,
          read: (range, signal) => readRange(repository, revision, { path, bytes }, range, access, signal),
        });
      }
      return files;
    });
  },
};

function hubParameters(repository: string, access: SourceAccess, signal?: AbortSignal) {
  const { token } = access.hub;
  return {
    hubUrl: hubEndpoint(access),
    fetch: hubFetch(repository, access, signal),
    ...(token !== undefined && { accessToken: token }),
  };
}

const ATTEMPTS = 3;
const BACKOFF_MILLISECONDS = 500;

/** Asks again where that may help. What the library trips over is an answer that is none of a hub. */
async function answered<T>(access: SourceAccess, signal: AbortSignal | undefined, ask: () => Promise<T>): Promise<T> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await ask();
    } catch (error) {
      if (QuantloomError.is(error) && error.retryable && attempt < ATTEMPTS) {
        await sleep(BACKOFF_MILLISECONDS * 2 ** (attempt - 1), undefined, { signal });
        continue;
      }
      // By name: errors of fetch may be of another realm.
      if (QuantloomError.is(error) || !['SyntaxError', 'TypeError', 'RangeError'].includes((error as Error).name))
        throw error;
      throw notTheHub(access, (error as Error).message, error);
    }
  }
}

function notTheHub(access: SourceAccess, fault: string, cause?: unknown): QuantloomError {
  const endpoint = hubEndpoint(access);
  return new QuantloomError(
    'SourceUnavailable',
    `${endpoint} does not answer as the hub does (${fault.slice(0, 200)}). Is HF_ENDPOINT right?`,
    { cause },
  );
}

/** Through the address that the hub resolves: what it redirects to expires. */
async function readRange(
  repository: string,
  revision: string,
  { path, bytes }: Pick<RemoteFile, 'path' | 'bytes'>,
  { begin, end }: { readonly begin: number; readonly end?: number },
  access: SourceAccess,
  signal?: AbortSignal,
): Promise<AsyncIterable<Uint8Array>> {
  const { hubUrl, accessToken, fetch } = hubParameters(repository, access, signal);
  const where = new URL(hubUrl).host;
  const address = `${hubUrl}/${repository}/resolve/${revision}/${path.split('/').map(encodeURIComponent).join('/')}`;
  const wholeFile = begin === 0 && end === undefined;
  const response = await fetch(address, {
    headers: {
      ...(!wholeFile && { range: `bytes=${begin}-${end === undefined ? '' : end - 1}` }),
      ...(accessToken !== undefined && { authorization: `Bearer ${accessToken}` }),
      // Ranges are of the bytes of the file.
      'accept-encoding': 'identity',
    },
  });
  const ranged = response.status === 206;
  const said = ranged ? response.headers.get('content-range') : response.headers.get('content-length');
  const total = ranged ? said?.split('/')[1] : said;
  const startsAt = ranged ? Number(/^bytes (\d+)-/.exec(said ?? '')?.[1]) : 0;
  const isEncoded = response.headers.has('content-encoding');
  if ((total != null && total !== '*' && !isEncoded && Number(total) !== bytes) || (ranged && startsAt !== begin)) {
    await response.body?.cancel();
    throw new QuantloomError(
      'SourceUnavailable',
      `${where} sends ${path} of ${repository} as ${said}; the hub's list says that it has ${bytes} bytes, and byte ${begin} was asked for.`,
    );
  }
  return cut(response.body ?? new ReadableStream(), begin - startsAt, (end ?? bytes) - begin, (error) =>
    unreachable(error, repository, where),
  );
}

/** A server that knows no ranges sends the file from its start: what is before and behind is left out. */
async function* cut(
  body: ReadableStream<Uint8Array>,
  skip: number,
  most: number,
  asError: (error: unknown) => QuantloomError,
): AsyncGenerator<Uint8Array> {
  let before = skip;
  let left = most;
  try {
    for await (const chunk of body as unknown as AsyncIterable<Uint8Array>) {
      const from = Math.min(before, chunk.byteLength);
      before -= from;
      const part = chunk.subarray(from, Math.min(chunk.byteLength, from + left));
      left -= part.byteLength;
      if (part.byteLength > 0) yield part;
      if (left === 0) return;
    }
  } catch (error) {
    throw asError(error);
  }
}
