import { lstat, mkdir, readlink, rename, rm, stat, symlink } from 'node:fs/promises';
import { join } from 'node:path';
import { type PromotionRule, QuantloomError } from '../spec';
import { withLock } from '../store';
import { synchronize } from '../store/synchronized-write';
import { judgeRelease, type Verdict } from './judge-release';
import { type Release, type ReleaseRecord, readReleases, writeReleases } from './release-record';

/** In a directory of releases, the link to the promoted one: replaced by one rename, so that a reader finds the old one or the new one. */
export const CURRENT_LINK = 'current';

/** What is known of an identity before anything is done. */
export interface KnownRelease {
  readonly reason: string;
  /** Name of the promoted release. */
  readonly current: string;
}

/**
 * Looks whether a result of this identity has been judged already by this rule. Makes the directory when there is none, and the link what
 * the record says, should a process have died between the two.
 *
 * @throws QuantloomError OutputExists when something else stands there, OutputUnwritable.
 */
export async function findRelease(
  directory: string,
  identity: string,
  rule: PromotionRule,
): Promise<KnownRelease | null> {
  return withReleases(directory, async (record) => {
    const { promoted, refused } = record;
    if (promoted === null || !(await exists(join(directory, promoted.name)))) return null;
    await linkCurrent(directory, promoted.name);
    if (promoted.identity === identity) {
      return { reason: `model, recipe and texts are those of ${promoted.name}`, current: promoted.name };
    }
    if (refused?.identity !== identity || refused.against !== promoted.name || !sameRule(refused.rule, rule))
      return null;
    return {
      reason: `model, recipe and texts are those of ${refused.name}, which was not promoted: ${refused.reason}`,
      current: promoted.name,
    };
  });
}

/** Judges a result that lies in `directory/name`, and promotes it or writes down why not. Doing it again changes nothing. */
export async function settleRelease(
  directory: string,
  candidate: Release,
  rule: PromotionRule,
): Promise<Verdict & { readonly current: string }> {
  return withReleases(directory, async (record) => {
    const { promoted, refused } = record;
    const standing = promoted !== null && (await exists(join(directory, promoted.name))) ? promoted : null;
    const again = standing?.name === candidate.name;
    const verdict = again ? { promote: true, reason: 'promoted before' } : judgeRelease(candidate, standing, rule);
    if (verdict.promote) {
      // The record first: whoever finds a link that differs from it makes it so.
      if (!again) await writeReleases(directory, { version: 1, promoted: candidate, refused: null });
      await linkCurrent(directory, candidate.name);
      return { ...verdict, current: candidate.name };
    }
    const { name: against } = standing as Release;
    if (refused?.name !== candidate.name) {
      await writeReleases(directory, {
        version: 1,
        promoted: standing,
        refused: { ...candidate, reason: verdict.reason, rule, against },
      });
    }
    return { ...verdict, current: against };
  });
}

async function withReleases<T>(directory: string, work: (record: ReleaseRecord) => Promise<T>): Promise<T> {
  await mkdir(directory, { recursive: true }).catch((cause: Error) => {
    throw new QuantloomError('OutputUnwritable', `${directory} cannot be made: ${cause.message}.`, { cause });
  });
  const link = await lstat(join(directory, CURRENT_LINK)).catch(() => null);
  if ((link && !link.isSymbolicLink()) || (await exists(join(directory, 'quantloom.json')))) {
    throw new QuantloomError(
      'OutputExists',
      `${directory} is no directory of releases: ${link ? `${CURRENT_LINK} in it is no link` : 'it is a checkpoint itself'}. Name another output.`,
    );
  }
  return withLock(join(directory, '.releases.lock'), async () => work(await readReleases(directory)));
}

async function linkCurrent(directory: string, name: string): Promise<void> {
  const link = join(directory, CURRENT_LINK);
  if ((await readlink(link).catch(() => null)) === name) return;
  const next = join(directory, `.${CURRENT_LINK}.next`);
  await rm(next, { force: true });
  await symlink(name, next);
  await rename(next, link);
  await synchronize(directory);
}

function sameRule(one: PromotionRule, other: PromotionRule): boolean {
  return one.maxPerplexityRise === other.maxPerplexityRise && one.maxSizeRise === other.maxSizeRise;
}

function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}
