import { resolve } from 'node:path';
import { type S3Access, s3Access } from '../../store';

/** What is needed to get models from elsewhere. Nothing of it is ever logged or stored. */
export interface SourceAccess {
  /** Directory, absolute, that such models are kept in. Every worker has to see it at this path. */
  readonly models: string;
  readonly hub: HubAccess;
  /** Default: Amazon's, as its SDK finds it. */
  readonly s3?: S3Access;
  /** A connection that is silent for longer counts as broken. Default 30 000. */
  readonly stallMilliseconds?: number;
}

export interface HubAccess {
  /** Address of the hub, without a slash at the end. Default: that of huggingface.co. */
  readonly endpoint?: string;
  /** For private and gated models. */
  readonly token?: string;
}

export const STALL_MILLISECONDS = 30_000;

/** By what an environment says of the hub: HF_ENDPOINT and HF_TOKEN, as the hub's own tools have them; and of S3. @param models directory. */
export function sourceAccess(models: string, environment: Readonly<Record<string, string | undefined>>): SourceAccess {
  const { HF_ENDPOINT: endpoint, HF_TOKEN: token } = environment;
  const hub = { ...(endpoint && { endpoint }), ...(token && { token: token.trim() }) };
  return { models: resolve(models), hub, s3: s3Access(environment) };
}
