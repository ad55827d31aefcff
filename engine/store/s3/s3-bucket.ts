import { randomUUID } from 'node:crypto';
import type { Readable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import {
  AbortMultipartUploadCommand,
  CopyObjectCommand,
  DeleteObjectCommand,
  GetObjectCommand,
  type GetObjectCommandInput,
  type GetObjectCommandOutput,
  HeadObjectCommand,
  ListMultipartUploadsCommand,
  type ListMultipartUploadsCommandOutput,
  PutObjectCommand,
  paginateListObjectsV2,
  S3Client,
} from '@aws-sdk/client-s3';
import { Upload } from '@aws-sdk/lib-storage';
import type { S3Access } from './s3-access';
import { type S3Address, s3Location } from './s3-address';
import { s3Failure, statusOf, type UnavailableCode } from './s3-failure';

export interface S3Object {
  /** Of its key, what is behind the prefix. */
  readonly name: string;
  readonly bytes: number;
  readonly etag: string;
  readonly modified: Date;
}

/** What is said of an object beside its content; keys are lower case. */
export type ObjectMetadata = Record<string, string>;

/** What is smaller goes in one request. */
export const PART_BYTES = 16 << 20;
/** S3 takes 10,000 parts. */
const MOST_PARTS = 9_000;
const PARTS_AT_ONCE = 4;
const ATTEMPTS = 8;
/** Of an answer whose body breaks off, which the SDK leaves to us. */
const BODY_ATTEMPTS = 8;
const BACKOFF_MILLISECONDS = 100;
const STALL_MILLISECONDS = 60_000;
const UPLOAD_ATTEMPTS = 3;
const CONFLICT_ATTEMPTS = 20;

/** The objects of a bucket whose keys begin with a prefix. Every request is tried again where that may help; the errors say what to do. */
export class S3Bucket {
  readonly location: string;
  readonly #client: S3Client;
  readonly #stallMilliseconds: number;
  /** Keys of multipart uploads that may have been begun twice: the answer to the first attempt was lost. */
  readonly #begunTwice = new Set<string>();

  constructor(
    private readonly address: S3Address,
    private readonly access: S3Access,
    private readonly unavailable: UnavailableCode,
  ) {
    const { endpoint, region, pathStyle = endpoint !== undefined } = access;
    const { stallMilliseconds = STALL_MILLISECONDS, attempts = ATTEMPTS } = access;
    const place = region ?? (endpoint === undefined ? undefined : 'us-east-1');
    this.location = s3Location(address);
    this.#stallMilliseconds = stallMilliseconds;
    this.#client = new S3Client({
      ...(endpoint !== undefined && { endpoint }),
      ...(place !== undefined && { region: place }),
      forcePathStyle: pathStyle,
      maxAttempts: attempts,
      retryMode: 'standard',
      requestHandler: { connectionTimeout: 10_000, socketTimeout: stallMilliseconds },
    });
    this.#client.middlewareStack.add(
      (next, { commandName }) =>
        async (args) => {
          if (commandName !== 'CreateMultipartUploadCommand') return next(args);
          const { Key } = args.input as { Key: string };
          const note = (attempts = 1) => attempts > 1 && this.#begunTwice.add(Key);
          try {
            const result = await next(args);
            note(result.output.$metadata.attempts);
            return result;
          } catch (error) {
            note(2);
            throw error;
          }
        },
      { step: 'initialize', name: 'quantloomBegunTwice' },
    );
  }

  /** Whether it can be listed. @throws QuantloomError. */
  async check(): Promise<void> {
    for await (const _ of this.list('', 1)) return;
  }

  /** @param sha256 of the content, hexadecimal: the server checks it. */
  async put(name: string, content: Uint8Array, sha256?: string, metadata?: ObjectMetadata): Promise<void> {
    const checksum = sha256 === undefined ? {} : { ChecksumSHA256: Buffer.from(sha256, 'hex').toString('base64') };
    const said = metadata && { Metadata: metadata };
    const command = new PutObjectCommand({ ...this.#object(name), Body: content, ...checksum, ...said });
    await this.#asked(this.#client.send(command));
  }

  /** @returns false when something is there, which stays. */
  async putIfAbsent(name: string, content: Uint8Array): Promise<boolean> {
    const writer = randomUUID();
    const command = () =>
      new PutObjectCommand({ ...this.#object(name), Body: content, IfNoneMatch: '*', Metadata: { writer } });
    for (let conflicts = 0; ; ) {
      try {
        await this.#client.send(command());
        return true;
      } catch (error) {
        const status = statusOf(error);
        // Somebody else is just writing it.
        if (status === 409 && ++conflicts < CONFLICT_ATTEMPTS) await backOff(0);
        else if (status !== 412) throw this.#failure(error);
        else {
          const there = await this.head(name);
          // Where the answer to an attempt was lost, the next one meets what that one wrote.
          if (there) return there.writer === writer;
        }
      }
    }
  }

  /** Puts content over what has this ETag. @returns false when something else is there, or nothing. */
  async putOver(name: string, content: Uint8Array, etag: string): Promise<boolean> {
    try {
      await this.#client.send(new PutObjectCommand({ ...this.#object(name), Body: content, IfMatch: etag }));
      return true;
    } catch (error) {
      const status = statusOf(error);
      if (status === 412 || status === 409 || status === 404) return false;
      throw this.#failure(error);
    }
  }

  /**
   * Writes an object in parts, each with a checksum and tried again by itself, four at a time. Until all of it has arrived nothing is there,
   * and of an upload that fails nothing remains.
   *
   * @param body makes a new stream of the content for every attempt, or is the content.
   */
  async upload(
    name: string,
    bytes: number,
    body: Uint8Array | (() => Readable),
    metadata?: ObjectMetadata,
  ): Promise<void> {
    for (let attempt = 1; ; attempt++) {
      const writer = randomUUID();
      const upload = new Upload({
        client: this.#client,
        params: {
          ...this.#object(name),
          Body: typeof body === 'function' ? body() : body,
          ChecksumAlgorithm: 'CRC32',
          Metadata: { ...metadata, writer },
        },
        partSize: Math.max(PART_BYTES, Math.ceil(bytes / MOST_PARTS)),
        queueSize: PARTS_AT_ONCE,
        leavePartsOnError: false,
      });
      try {
        await upload.done();
        return;
      } catch (error) {
        // Its end may have arrived and the answer been lost; the next attempt is told that there is no such upload.
        if (statusOf(error) === 404 && (await this.head(name))?.writer === writer) return;
        // Another process has found it to be left over.
        if ((error as Error).name === 'NoSuchUpload' && attempt < UPLOAD_ATTEMPTS) continue;
        throw this.#failure(error);
      } finally {
        if (this.#begunTwice.delete(this.#key(name))) await this.#abortOthers(name);
      }
    }
  }

  /** null: there is none. */
  async head(
    name: string,
  ): Promise<(S3Object & { readonly writer?: string; readonly metadata: ObjectMetadata }) | null> {
    try {
      const found = await this.#client.send(new HeadObjectCommand(this.#object(name)));
      const { ContentLength: bytes = 0, ETag: etag = '', LastModified: modified = new Date(0), Metadata } = found;
      const metadata = { ...Metadata };
      return {
        name,
        bytes,
        etag,
        modified,
        metadata,
        ...(Metadata?.writer !== undefined && { writer: Metadata.writer }),
      };
    } catch (error) {
      if (statusOf(error) === 404) return null;
      throw this.#failure(error);
    }
  }

  /** A small object; null: there is none. */
  async get(name: string): Promise<(S3Object & { readonly content: Uint8Array }) | null> {
    return this.#received(this.#object(name), async ({ Body, ETag: etag = '', LastModified }) => {
      const content = await (Body as NonNullable<typeof Body>).transformToByteArray();
      return { name, content, bytes: content.byteLength, etag, modified: LastModified ?? new Date(0) };
    });
  }

  /** Fills `target` from `begin` on. @returns how many bytes there were; null: there is no object. */
  async readRange(name: string, begin: number, target: Uint8Array): Promise<number | null> {
    const input = { ...this.#object(name), Range: `bytes=${begin}-${begin + target.byteLength - 1}` };
    return this.#received(input, async (response) => {
      let done = 0;
      for await (const chunk of response.Body as AsyncIterable<Uint8Array>) {
        const room = target.byteLength - done;
        target.set(chunk.byteLength > room ? chunk.subarray(0, room) : chunk, done);
        done += Math.min(room, chunk.byteLength);
      }
      if (done < (response.ContentLength ?? 0) && done < target.byteLength) throw new Error('the answer broke off');
      return done;
    });
  }

  /** Bytes of the object that has this ETag, as they come. @returns null when something else is there, or nothing. */
  async stream(
    name: string,
    { begin, end, etag }: { readonly begin: number; readonly end?: number; readonly etag: string },
    signal?: AbortSignal,
  ): Promise<AsyncIterable<Uint8Array> | null> {
    const input = { ...this.#object(name), IfMatch: etag, Range: `bytes=${begin}-${end === undefined ? '' : end - 1}` };
    try {
      const { Body } = await this.#client.send(new GetObjectCommand(input), signal && { abortSignal: signal });
      return this.#translated(Body as AsyncIterable<Uint8Array>);
    } catch (error) {
      if (signal?.aborted) throw signal.reason;
      if (statusOf(error) === 412 || statusOf(error) === 404) return null;
      throw this.#failure(error);
    }
  }

  /** Objects whose names begin with `start`. */
  async *list(start: string, pageSize = 1000): AsyncGenerator<S3Object> {
    const { bucket: Bucket } = this.address;
    const root = this.#key('');
    try {
      const input = { Bucket, Prefix: this.#key(start) };
      for await (const page of paginateListObjectsV2({ client: this.#client, pageSize }, input)) {
        for (const {
          Key = '',
          Size: bytes = 0,
          ETag: etag = '',
          LastModified: modified = new Date(0),
        } of page.Contents ?? [])
          yield { name: Key.slice(root.length), bytes, etag, modified };
      }
    } catch (error) {
      throw this.#failure(error);
    }
  }

  /** No error if there is none. */
  async remove(name: string): Promise<void> {
    await this.#asked(this.#client.send(new DeleteObjectCommand(this.#object(name))));
  }

  /** Within the bucket, without moving bytes. */
  async copy(name: string, to: string): Promise<void> {
    const source = `${this.address.bucket}/${this.#key(name)}`.split('/').map(encodeURIComponent).join('/');
    await this.#asked(this.#client.send(new CopyObjectCommand({ ...this.#object(to), CopySource: source })));
  }

  /** Multipart uploads under way, of names that begin with `start`. */
  async *uploads(start: string): AsyncGenerator<{ readonly name: string; readonly id: string; readonly begun: Date }> {
    const { bucket: Bucket } = this.address;
    const root = this.#key('');
    for (let after: { KeyMarker?: string; UploadIdMarker?: string } | null = {}; after !== null; ) {
      const command: ListMultipartUploadsCommand = new ListMultipartUploadsCommand({
        Bucket,
        Prefix: this.#key(start),
        ...after,
      });
      const found: ListMultipartUploadsCommandOutput = await this.#asked(this.#client.send(command));
      const { Uploads, IsTruncated, NextKeyMarker, NextUploadIdMarker } = found;
      for (const { Key = '', UploadId: id = '', Initiated: begun = new Date(0) } of Uploads ?? [])
        yield { name: Key.slice(root.length), id, begun };
      after = IsTruncated
        ? {
            ...(NextKeyMarker && { KeyMarker: NextKeyMarker }),
            ...(NextUploadIdMarker && { UploadIdMarker: NextUploadIdMarker }),
          }
        : null;
    }
  }

  /** Lets go of the parts of an upload that nobody will end. No error if there is none. */
  async abort({ name, id }: { readonly name: string; readonly id: string }): Promise<void> {
    await this.#client
      .send(new AbortMultipartUploadCommand({ ...this.#object(name), UploadId: id }))
      .catch((error: unknown) => {
        if (statusOf(error) !== 404) throw this.#failure(error);
      });
  }

  /** Somebody who is just writing the same begins again. What cannot be done now is left to the collection of garbage. */
  async #abortOthers(name: string): Promise<void> {
    try {
      for await (const upload of this.uploads(name)) if (upload.name === name) await this.abort(upload);
    } catch {}
  }

  /** An answer, asked for again as long as its body breaks off; null: there is no such object. */
  async #received<T>(
    input: GetObjectCommandInput,
    consume: (response: GetObjectCommandOutput) => Promise<T>,
  ): Promise<T | null> {
    for (let failures = 0; ; ) {
      const limit = AbortSignal.timeout(2 * this.#stallMilliseconds);
      let answered = false;
      try {
        const response = await this.#client.send(new GetObjectCommand(input), { abortSignal: limit });
        answered = true;
        return await consume(response);
      } catch (error) {
        if (statusOf(error) === 404 && (error as Error).name !== 'NoSuchBucket') return null;
        if (!(answered || limit.aborted) || ++failures === BODY_ATTEMPTS) throw this.#failure(error);
        await backOff(failures);
      }
    }
  }

  async *#translated(body: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
    try {
      yield* body;
    } catch (error) {
      throw this.#failure(error);
    }
  }

  async #asked<T>(answer: Promise<T>): Promise<T> {
    try {
      return await answer;
    } catch (error) {
      throw this.#failure(error);
    }
  }

  #failure(error: unknown): unknown {
    const { location, unavailable } = this;
    return s3Failure(error, { location, endpoint: this.access.endpoint, unavailable });
  }

  #object(name: string): { Bucket: string; Key: string } {
    return { Bucket: this.address.bucket, Key: this.#key(name) };
  }

  #key(name: string): string {
    return this.address.prefix === '' ? name : `${this.address.prefix}/${name}`;
  }
}

/** With full jitter. */
async function backOff(failures: number): Promise<void> {
  await sleep(Math.random() * Math.min(10_000, BACKOFF_MILLISECONDS * 2 ** failures));
}
