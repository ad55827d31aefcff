import path from 'node:path';
import { QuantloomError } from '../spec';
import { ArtifactCache, type CacheSettings } from './artifact-cache';
import type { ArtifactStore } from './artifact-store';
import { openFileStore } from './file-store';
import { loadS3 } from './s3/load-s3';
import { type S3Access, s3Access } from './s3/s3-access';
import { isS3Address, parseS3Address } from './s3/s3-address';

/** Where artifacts are kept. */
export interface StorePlace {
  /** An absolute path, or `s3://bucket/prefix`. */
  readonly location: string;
  /** In front of a store that is elsewhere. */
  readonly cache: CacheSettings;
  readonly s3: S3Access;
}

const DEFAULT_CACHE_BYTES = 20 * 2 ** 30;
const UNITS: Readonly<Record<string, number>> = { '': 1, K: 2 ** 10, M: 2 ** 20, G: 2 ** 30, T: 2 ** 40 };

/**
 * What an environment says of the store: QUANTLOOM_STORE, QUANTLOOM_CACHE and QUANTLOOM_CACHE_SIZE, and how S3 is reached.
 *
 * @param home directory of all local state; absolute.
 * @param configured place of the store where the environment names none.
 * @throws QuantloomError WrongUse naming the variable.
 */
export function storePlace(
  {
    home,
    workingDirectory,
    configured,
  }: { readonly home: string; readonly workingDirectory: string; readonly configured?: string | undefined },
  environment: Readonly<Record<string, string | undefined>>,
): StorePlace {
  const named = environment.QUANTLOOM_STORE || configured || path.join(home, 'store');
  const cache = {
    directory: path.resolve(workingDirectory, environment.QUANTLOOM_CACHE || path.join(home, 'cache')),
    bytes: cacheBytes(environment.QUANTLOOM_CACHE_SIZE),
  };
  if (isS3Address(named)) {
    parseS3Address(named);
    return { location: named.replace(/\/+$/, ''), cache, s3: s3Access(environment) };
  }
  if (/^[a-z][a-z0-9+.-]+:\/\//i.test(named)) {
    const text = `The store is ${named}; it must be a directory or s3://BUCKET/PREFIX (QUANTLOOM_STORE, or store).`;
    throw new QuantloomError('WrongUse', text);
  }
  return { location: path.resolve(workingDirectory, named), cache, s3: {} };
}

/** The directory of a store that is one; null: it is elsewhere. */
export function storeDirectoryOf({ location }: Pick<StorePlace, 'location'>): string | null {
  return isS3Address(location) ? null : location;
}

/**
 * @param sought is told whether an artifact that somebody wanted was in the cache, where there is one.
 * @throws QuantloomError OutputUnwritable, StoreUnavailable, AccessDenied.
 */
export async function openStore(
  { location, cache, s3 }: StorePlace,
  sought?: (found: boolean) => void,
): Promise<ArtifactStore> {
  if (!isS3Address(location)) return openFileStore(location);
  const { S3Bucket, S3Store } = loadS3();
  const bucket = new S3Bucket(parseS3Address(location), s3, 'StoreUnavailable');
  return S3Store.open(bucket, await ArtifactCache.open(cache), sought);
}

function cacheBytes(value: string | undefined): number {
  if (!value) return DEFAULT_CACHE_BYTES;
  const [, number, unit] = /^(\d+(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?$/i.exec(value.trim()) ?? [];
  if (number !== undefined) return Math.floor(Number(number) * (UNITS[(unit ?? '').toUpperCase()] as number));
  throw new QuantloomError('WrongUse', `QUANTLOOM_CACHE_SIZE is "${value}"; it must be a size, such as 50GiB, or 0.`);
}
