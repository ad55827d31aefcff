import { mkdir } from 'node:fs/promises';
import type { LocatedModel, SourceAccess } from '../sources';
import { freeBytes } from '../store';
import type { Findings } from './findings';

/** Says what is to be fetched before the job's work begins, and whether there is room for it. */
export async function checkFetch(
  { bytesToFetch, directory, origin }: LocatedModel,
  sources: SourceAccess | null,
  findings: Findings,
): Promise<void> {
  if (sources === null || origin === null || bytesToFetch === 0) return;
  await mkdir(sources.models, { recursive: true });
  const free = await freeBytes(sources.models);
  if (free !== null && free < bytesToFetch) {
    findings.refuse(
      'StoreFull',
      'model',
      `${bytesToFetch} bytes are to be fetched to ${sources.models}, and ${free} are free. Free space there, or name another place (QUANTLOOM_MODELS).`,
    );
  }
  findings.warn(
    `Only headers were read: the job fetches ${bytesToFetch} bytes of ${origin.address} for ${directory} first.`,
  );
}
