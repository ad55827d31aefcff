import { createHash } from 'node:crypto';
import { setImmediate as yieldToEventLoop } from 'node:timers/promises';
import { bytesOf } from '../../numbers';
import { describedModules, type LinearDescription, type LinearStorage } from '../linear-storage';
import { CheckRecord } from './check';
import { checkGroups, checkScales, checkZeros } from './check-parameters';
import type { RawLinear } from './raw-linear';
import type { StoredTensors } from './stored-tensors';

const ROWS_PER_TURN = 32;

/** What quantized linears are checked against. */
export interface LinearWitnesses extends LinearDescription {
  readonly storage: LinearStorage;
  /** The weight as the reader has it that perplexity and generation use, `[rows, columns]`. */
  weightOf(module: string): Promise<Float32Array>;
  /** `weightSha256` that the quantizer recorded; null: it is not known. */
  meantSha256(module: string): string | null;
  /** The number that it recorded for all inputs; undefined: none. */
  meantInputScale(module: string): number | undefined;
}

export interface LinearChecks {
  readonly scales: CheckRecord;
  readonly zeros: CheckRecord;
  readonly groups: CheckRecord;
  /** Against the reader that perplexity and generation use. */
  readonly reader: CheckRecord;
  /** Against what the quantizer recorded. */
  readonly meaning: CheckRecord;
}

/** Decodes every quantized linear with the independent decoder and compares. Memory: two copies of one linear. */
export async function checkLinears(
  stored: StoredTensors,
  witnesses: LinearWitnesses,
  signal?: AbortSignal,
): Promise<LinearChecks> {
  const checks: LinearChecks = {
    scales: new CheckRecord('scales are positive and finite', 'scale'),
    zeros: new CheckRecord('zero points are in range', 'zero point'),
    groups: new CheckRecord('every column has a group', 'column'),
    reader: new CheckRecord('an independent decoder gets the same weights', 'linear'),
    meaning: new CheckRecord('weights are what the quantizer meant', 'linear'),
  };
  let subnormal = 0;
  let undecoded = 0;
  const { storage, settingsOf } = witnesses;
  const modules = describedModules(storage, stored.tensors.keys(), (module) => settingsOf(module) !== null);
  for (const module of modules) {
    signal?.throwIfAborted();
    try {
      const raw = await storage.readRaw(module, stored, witnesses);
      if (!raw) {
        undecoded++;
        continue;
      }
      if (!checkGroups(module, raw, checks.groups)) continue;
      subnormal += checkScales(module, raw, checks.scales);
      checkZeros(module, raw, witnesses.describedBy, checks.zeros);
      checkInputScale(module, raw, witnesses, checks.meaning);
      await checkWeights(module, raw, witnesses, checks, signal);
    } catch (error) {
      if (signal?.aborted) throw error;
      checks.reader.find(`${module}: ${(error as Error).message}`);
    }
  }
  if (undecoded > 0) checks.reader.note(`${undecoded} linears are of types that have no second decoder.`);
  if (subnormal > 0) {
    checks.scales.note(`${subnormal} scales are below 2^-14: float16 holds them with fewer than 11 bits.`);
  }
  return checks;
}

function checkInputScale(module: string, raw: RawLinear, witnesses: LinearWitnesses, meaning: CheckRecord): void {
  const meant = witnesses.meantInputScale(module);
  // Other formats hold weights alone.
  if (meant === undefined || !raw.inputScale) return;
  const [found] = raw.inputScale.values;
  if (found !== meant) meaning.find(`${module}: inputs are quantized with ${found}, the quantizer's scale is ${meant}`);
}

async function checkWeights(
  module: string,
  raw: RawLinear,
  witnesses: LinearWitnesses,
  { reader: same, meaning }: LinearChecks,
  signal?: AbortSignal,
): Promise<void> {
  const data = await witnesses.weightOf(module);
  const hash = createHash('sha256');
  const { rows, columns } = raw;
  const memory = new Float32Array(ROWS_PER_TURN * columns);
  let differing = 0;
  for (let row = 0; row < rows; row += ROWS_PER_TURN) {
    const count = Math.min(ROWS_PER_TURN, rows - row);
    const own = raw.weights(row, count, memory.subarray(0, count * columns));
    hash.update(bytesOf(own));
    differing += countDiffering(own, data.subarray(row * columns, row * columns + own.length));
    await yieldToEventLoop();
    signal?.throwIfAborted();
  }
  same.expect(differing === 0, () => `${module}: ${differing} of ${rows * columns} weights differ`);
  const meant = witnesses.meantSha256(module);
  if (meant) {
    const found = hash.digest('hex');
    meaning.expect(found === meant, () => `${module}: the weights have SHA-256 ${found}, the quantizer's had ${meant}`);
  }
}

function countDiffering(a: Float32Array, b: Float32Array): number {
  let differing = 0;
  for (let index = 0; index < a.length; index++) if (a[index] !== b[index]) differing++;
  return differing;
}
