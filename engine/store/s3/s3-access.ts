import { QuantloomError } from '../../spec';

/** How S3 is reached. Credentials are found by Amazon's SDK itself: environment, profiles, roles of machines and pods. */
export interface S3Access {
  /** Address of a server other than Amazon's: MinIO, Ceph, R2 ... */
  readonly endpoint?: string;
  /** Default: what the SDK finds; with an endpoint `us-east-1`, which other servers take for theirs. */
  readonly region?: string;
  /** Buckets in the path of the address (`endpoint/bucket/key`), not in its host. Default: where there is an endpoint. */
  readonly pathStyle?: boolean;
  /** A connection that is silent for longer counts as broken. Default 60 000. */
  readonly stallMilliseconds?: number;
  /** Of a request, with full jitter from 0.1 to 20 seconds apart. Default 8. */
  readonly attempts?: number;
}

/** By what an environment says: QUANTLOOM_S3_ENDPOINT, or what Amazon's own tools go by. @throws QuantloomError WrongUse. */
export function s3Access(environment: Readonly<Record<string, string | undefined>>): S3Access {
  const endpoint =
    environment.QUANTLOOM_S3_ENDPOINT || environment.AWS_ENDPOINT_URL_S3 || environment.AWS_ENDPOINT_URL || '';
  const region = environment.AWS_REGION || environment.AWS_DEFAULT_REGION || '';
  const style = environment.QUANTLOOM_S3_PATH_STYLE || '';
  if (endpoint !== '' && !(/^https?:/.test(endpoint) && URL.canParse(endpoint))) {
    throw new QuantloomError('WrongUse', `The endpoint of S3 is "${endpoint}"; it must be an http or https address.`);
  }
  if (!['', '0', '1'].includes(style)) {
    throw new QuantloomError('WrongUse', `QUANTLOOM_S3_PATH_STYLE is "${style}"; it must be 0 or 1.`);
  }
  return { ...(endpoint && { endpoint }), ...(region && { region }), ...(style && { pathStyle: style === '1' }) };
}
