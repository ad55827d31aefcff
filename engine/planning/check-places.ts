import { constants } from 'node:fs';
import { access, stat } from 'node:fs/promises';
import path from 'node:path';
import { hasManifestInBucket, isBucketOutput, placeInOutput } from '../checkpoints';
import type { QuantizationSpec } from '../spec';
import { freeBytes, type S3Access } from '../store';
import type { Findings } from './findings';

export interface Places {
  readonly output: string;
  readonly model: string;
  /** Null when the store is no directory. */
  readonly store: string | null;
  readonly outputBytes: number;
  readonly storeBytes: number;
}

/** @returns bytes free where the output goes; 0 when that cannot be told. */
export async function checkPlaces(
  places: Places,
  spec: QuantizationSpec,
  findings: Findings,
  s3: S3Access = {},
): Promise<number> {
  if (isBucketOutput(places.output)) return checkBucket(places, spec, findings, s3);
  const output = path.resolve(places.output);
  const parent = await nearestExisting(path.dirname(output));
  const present = await stat(output).catch(() => null);
  if (contains(output, places.model) || contains(places.model, output)) {
    findings.refuse(
      'OutputExists',
      'output',
      `${output} and the model's directory ${places.model} lie in one another. Name another output.`,
    );
  } else if (present !== null && !spec.overwrite) {
    findings.refuse('OutputExists', 'output', `${output} exists. Name another output, remove it, or set overwrite.`);
  } else if (spec.importanceOnly) {
    if (present && !present.isFile())
      findings.refuse('OutputExists', 'output', `${output} is a directory. Name a file.`);
  } else if (present !== null && !present.isDirectory()) {
    findings.refuse('OutputExists', 'output', `${output} is a file. Name a directory.`);
  }
  const isDirectory = (await stat(parent)).isDirectory();
  if (
    !isDirectory ||
    (await access(parent, constants.W_OK | constants.X_OK).then(
      () => false,
      () => true,
    ))
  ) {
    findings.refuse(
      'OutputUnwritable',
      'output',
      `${parent} is ${isDirectory ? 'not writable' : 'not a directory'}, so ${output} cannot be made. Change its permissions or name another output.`,
    );
  }
  await checkRoom({ ...places, output: parent }, findings);
  return (await freeBytes(parent)) ?? 0;
}

/** @returns 0: nobody knows how much room a bucket has. */
async function checkBucket(
  { output, outputBytes, storeBytes, store }: Places,
  { overwrite, importanceOnly, formats }: QuantizationSpec,
  findings: Findings,
  s3: S3Access,
): Promise<number> {
  if (importanceOnly) {
    findings.refuse(
      'PlanRefused',
      'output',
      `${output} is in a bucket, and an importance matrix is written to a file. Name a file.`,
    );
    return 0;
  }
  for (const format of overwrite ? [] : formats) {
    const place = formats.length > 1 ? format : '';
    if ((await findings.attempt('output', () => hasManifestInBucket(output, place, s3))) !== true) continue;
    const message = `${placeInOutput(output, place)} holds a checkpoint. Name another output, remove it, or set overwrite.`;
    findings.refuse('OutputExists', 'output', message);
  }
  if (store !== null) {
    const room = { output: await nearestExisting(path.resolve(store)), store, outputBytes, storeBytes };
    await checkRoom({ ...room, model: '' }, findings);
  }
  return 0;
}

async function checkRoom({ output, store, outputBytes, storeBytes }: Places, findings: Findings): Promise<void> {
  const storePlace = store === null ? null : await nearestExisting(path.resolve(store));
  const together = storePlace !== null && (await stat(storePlace)).dev === (await stat(output)).dev;
  const needs: (readonly [string, string, number])[] = together
    ? [['output', `${output} (output and store)`, outputBytes + storeBytes]]
    : [['output', `${output} (output)`, outputBytes]];
  if (storePlace !== null && !together) needs.push(['store', `${storePlace} (store)`, storeBytes]);
  for (const [where, place, needed] of needs) {
    const free = await freeBytes(where === 'store' ? (storePlace as string) : output);
    if (free === null || free >= needed) continue;
    findings.refuse(
      'StoreFull',
      where,
      `About ${needed} bytes are needed in ${place}, ${free} are free. Free space there, collect garbage (quantloom gc), or name another place.`,
    );
  }
}

async function nearestExisting(directory: string): Promise<string> {
  for (let candidate = directory; ; candidate = path.dirname(candidate)) {
    if (candidate === path.dirname(candidate) || (await stat(candidate).catch(() => null)) !== null) return candidate;
  }
}

function contains(outer: string, inner: string): boolean {
  const relative = path.relative(outer, inner);
  return relative === '' || (!relative.startsWith('..') && !path.isAbsolute(relative));
}
