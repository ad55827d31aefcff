import { QuantloomError } from '../../spec';

export interface S3Address {
  readonly bucket: string;
  /** Of the keys, without slashes at its ends; empty: the whole bucket. */
  readonly prefix: string;
}

export const S3_SCHEME = 's3:';

/** Buckets of other servers than Amazon's may have capitals and underscores. */
const PATTERN = /^s3:\/\/([A-Za-z0-9][\w.-]{1,253}[A-Za-z0-9])(?:\/+(.*?))?\/*$/;

export function isS3Address(place: string): boolean {
  return place.startsWith(S3_SCHEME);
}

/** `s3://bucket`, `s3://bucket/prefix`. @throws QuantloomError WrongUse. */
export function parseS3Address(address: string): S3Address {
  const [, bucket, prefix = ''] = PATTERN.exec(address) ?? [];
  const segments = prefix.split('/');
  const isPlain = prefix === '' || segments.every((segment) => segment !== '' && !/^\.\.?$|[\p{Cc}\\]/u.test(segment));
  if (bucket !== undefined && isPlain) return { bucket, prefix };
  throw new QuantloomError('WrongUse', `${JSON.stringify(address)} names no place in S3. Write s3://BUCKET/PREFIX.`);
}

export function s3Location({ bucket, prefix }: S3Address): string {
  return `${S3_SCHEME}//${bucket}${prefix && `/${prefix}`}`;
}
