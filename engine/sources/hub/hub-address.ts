import { QuantloomError } from '../../spec';

export interface HubAddress {
  /** `owner/name`, or `name` for the few models without an owner. */
  readonly repository: string;
  /** Branch, tag or commit. */
  readonly revision: string;
}

const PATTERN = /^hf:(?:\/\/)?((?:[A-Za-z0-9][\w.-]*\/)?[A-Za-z0-9][\w.-]*)(?:@([^@\s]+))?$/;
const COMMIT = /^[0-9a-f]{40}$/;

/** `hf:owner/name`, `hf:owner/name@revision`. @throws QuantloomError WrongUse. */
export function parseHubAddress(address: string): HubAddress {
  const [, repository, revision = 'main'] = PATTERN.exec(address) ?? [];
  if (repository !== undefined && !repository.includes('..') && !/[\\?#%]|\.\./.test(revision)) {
    return { repository, revision };
  }
  throw new QuantloomError(
    'WrongUse',
    `${JSON.stringify(address)} is no model of the hub. Write hf:OWNER/NAME, or hf:OWNER/NAME@REVISION with a branch, a tag or a commit.`,
  );
}

export function isCommit(revision: string): boolean {
  return COMMIT.test(revision);
}
