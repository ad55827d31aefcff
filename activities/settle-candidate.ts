import { readFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { MANIFEST_FILE, parseManifest } from '../engine/checkpoints';
import { settleRelease } from '../engine/releases';
import { parseQuantizationSpec, type RequantizeRequest, type RequantizeResult } from '../engine/spec';
import type { ResolvedSource } from './resolve-source';

export interface SettleInput extends RequantizeRequest, Pick<ResolvedSource, 'revision' | 'identity' | 'files'> {
  /** Name of its directory. */
  readonly candidate: string;
  /** Of the weight files. */
  readonly bytes: number;
}

/**
 * Compares a result with the last promoted one, by perplexity and size: makes it the current one, or keeps the old one and says why.
 *
 * @throws QuantloomError OutputUnwritable, InvalidCheckpoint.
 */
export async function settleCandidate(input: SettleInput): Promise<RequantizeResult> {
  const { candidate, bytes, revision, identity, rule } = input;
  const { output, formats, dequantize } = parseQuantizationSpec(input.spec);
  const directory = resolve(output);
  const checkpoint = formats.length > 1 ? join(directory, candidate, formats[0] as string) : join(directory, candidate);
  const { perplexity, source } = parseManifest(await readFile(join(checkpoint, MANIFEST_FILE), 'utf8'));
  // A model that was dequantized has files of its own.
  const changed = !dequantize && source.files.some(({ name, sha256 }) => (input.files[name] ?? sha256) !== sha256);
  const measured = perplexity && {
    ...{ value: perplexity.quantized, textSha256: perplexity.textSha256 },
    ...{ context: perplexity.context, scoredTokens: perplexity.scoredTokens },
  };
  // What was quantized is not what was looked at; it is a result all the same, of no known identity.
  const known = changed ? '0'.repeat(64) : identity;
  const release = { name: candidate, identity: known, revision, bytes, perplexity: measured };
  const { promote, reason, current } = await settleRelease(directory, release, rule);
  return { outcome: promote ? 'promoted' : 'kept', reason, revision, current, candidate };
}
