import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { setImmediate as yieldToEventLoop } from 'node:timers/promises';
import { type GptqConfig, moduleSettings } from '../gptq/module-settings';
import type { Manifest } from '../manifest';
import type { CheckpointReader } from '../open-checkpoint';
import { CheckRecord } from './check';
import type { TensorPlaces } from './check-files';
import { GptqWeights, type RawGptqLinear } from './decode-gptq';
import { RawSafetensors } from './raw-safetensors';

const SMALLEST_NORMAL_FLOAT16 = 2 ** -14;
const ROWS_PER_TURN = 32;

export interface LinearChecks {
  readonly scales: CheckRecord;
  readonly zeros: CheckRecord;
  readonly groups: CheckRecord;
  /** Against the reader that perplexity and generation use. */
  readonly reader: CheckRecord;
  /** Against what the quantizer recorded in the manifest. */
  readonly meaning: CheckRecord;
}

/** Decodes every quantized linear with the independent decoder and compares. Memory: two copies of one linear. */
export async function checkLinears(
  reader: CheckpointReader,
  gptq: GptqConfig,
  places: TensorPlaces,
  manifest: Manifest | null,
  signal?: AbortSignal,
): Promise<LinearChecks> {
  const checks: LinearChecks = {
    scales: new CheckRecord('scales are positive and finite', 'scale'),
    zeros: new CheckRecord('zero points are in range', 'zero point'),
    groups: new CheckRecord('every column has a group', 'column'),
    reader: new CheckRecord('an independent decoder gets the same weights', 'linear'),
    meaning: new CheckRecord('weights are what the quantizer meant', 'linear'),
  };
  const files = new OpenFiles(reader.directory, places);
  let subnormal = 0;
  try {
    const modules = [...places.keys()].filter((name) => name.endsWith('.qweight')).map((name) => name.slice(0, -8));
    for (const module of modules) {
      signal?.throwIfAborted();
      try {
        const raw = await readLinear(module, files, gptq);
        if (!checkGroups(module, raw, checks.groups)) continue;
        const weights = new GptqWeights(raw);
        subnormal += checkScales(module, weights.scales, raw.N, checks.scales);
        checkZeros(module, raw, weights, checks.zeros);
        await checkWeights(module, raw, weights, reader, manifest, checks, signal);
      } catch (error) {
        if (signal?.aborted) throw error;
        checks.reader.find(`${module}: ${(error as Error).message}`);
      }
    }
  } finally {
    await files.close();
  }
  if (subnormal > 0) {
    checks.scales.note(`${subnormal} scales are below 2^-14: float16 holds them with fewer than 11 bits.`);
  }
  noteUnrecorded(manifest, checks.meaning);
  return checks;
}

async function readLinear(module: string, files: OpenFiles, gptq: GptqConfig): Promise<RawGptqLinear> {
  const settings = moduleSettings(gptq, module);
  if (!settings) throw new Error('stored quantized, but config.json says that it is not');
  const shapeOf = (part: string) => files.shape(`${module}.${part}`);
  const [words = 0, N = 0] = shapeOf('qweight') ?? [];
  const [G = 0] = shapeOf('scales') ?? [];
  const K = shapeOf('g_idx')?.[0] ?? (words * 32) / settings.bits;
  // From the tensors alone; the config has to agree.
  const bits = (words * 32) / K;
  if (bits !== settings.bits) throw new Error(`the tensors hold ${bits} bits, config.json says ${settings.bits}`);
  if (files.dtype(`${module}.scales`) !== 'F16')
    throw new Error(`scales are ${files.dtype(`${module}.scales`)}, not F16`);
  const [qweight, qzeros, scales] = (await Promise.all(
    ['qweight', 'qzeros', 'scales'].map((part) => files.read(`${module}.${part}`)),
  )) as [Buffer, Buffer, Buffer];
  const groupSize = settings.groupSize === -1 ? K : settings.groupSize;
  const index = shapeOf('g_idx') ? await files.read(`${module}.g_idx`) : null;
  const groupOf = Int32Array.from({ length: K }, (_, column) =>
    index ? index.readInt32LE(4 * column) : Math.floor(column / groupSize),
  );
  return {
    K,
    N,
    G,
    bits,
    qweight,
    qzeros,
    scales,
    groupOf,
    checkpointFormat: settings.layout,
    symmetric: settings.symmetric,
  };
}

function checkGroups(module: string, { K, G, groupOf }: RawGptqLinear, check: CheckRecord): boolean {
  const before = check.findingCount;
  for (let column = 0; column < K; column++) {
    const group = groupOf[column] as number;
    check.expect(group >= 0 && group < G, () => `${module}.g_idx: column ${column} is in group ${group} of ${G}`);
  }
  return check.findingCount === before;
}

/** @returns how many are subnormal. */
function checkScales(module: string, scales: Float32Array, N: number, check: CheckRecord): number {
  let subnormal = 0;
  scales.forEach((scale, at) => {
    check.expect(
      scale > 0 && Number.isFinite(scale),
      () => `${module}.scales: ${scale} in group ${Math.floor(at / N)}, row ${at % N}`,
    );
    if (scale > 0 && scale < SMALLEST_NORMAL_FLOAT16) subnormal++;
  });
  return subnormal;
}

function checkZeros(module: string, raw: RawGptqLinear, weights: GptqWeights, check: CheckRecord): void {
  const largest = 2 ** raw.bits - 1;
  const middle = 2 ** (raw.bits - 1);
  weights.storedZeros.forEach((stored, at) => {
    const zero = stored + weights.zeroOffset;
    const where = () => `group ${Math.floor(at / raw.N)}, row ${at % raw.N}`;
    check.expect(
      zero <= largest,
      () =>
        `${module}.qzeros: the file holds ${stored} in ${where()}; one more is no zero point of ${raw.bits} bits, and readers wrap it around to 0`,
    );
    if (raw.symmetric && zero !== middle) {
      check.find(
        `${module}.qzeros: zero point ${zero} in ${where()}, but config.json says symmetric, which is ${middle}`,
      );
    }
  });
}

async function checkWeights(
  module: string,
  raw: RawGptqLinear,
  weights: GptqWeights,
  reader: CheckpointReader,
  manifest: Manifest | null,
  { reader: same, meaning }: LinearChecks,
  signal?: AbortSignal,
): Promise<void> {
  const { data } = await reader.float(`${module}.weight`);
  const hash = createHash('sha256');
  let differing = 0;
  for (let row = 0; row < raw.N; row += ROWS_PER_TURN) {
    const own = weights.rows(row, Math.min(ROWS_PER_TURN, raw.N - row));
    hash.update(new Uint8Array(own.buffer));
    differing += countDiffering(own, data.subarray(row * raw.K, row * raw.K + own.length));
    await yieldToEventLoop();
    signal?.throwIfAborted();
  }
  same.expect(differing === 0, () => `${module}: ${differing} of ${raw.N * raw.K} weights differ`);
  const meant = manifest?.linears[module]?.weightSha256;
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

function noteUnrecorded(manifest: Manifest | null, check: CheckRecord): void {
  if (!manifest) {
    check.note('Without a manifest it is not known what the quantizer meant.');
    return;
  }
  const unrecorded = Object.values(manifest.linears).filter(
    ({ recipe, weightSha256 }) => recipe && !weightSha256,
  ).length;
  if (unrecorded > 0) check.note(`The manifest does not record the weights of ${unrecorded} linears.`);
}

/** Weight files, opened when first needed. */
class OpenFiles {
  private readonly open = new Map<string, Promise<RawSafetensors>>();

  constructor(
    private readonly directory: string,
    private readonly places: TensorPlaces,
  ) {}

  shape(tensor: string): readonly number[] | undefined {
    return this.places.get(tensor)?.shape;
  }

  dtype(tensor: string): string | undefined {
    return this.places.get(tensor)?.dtype;
  }

  async read(tensor: string): Promise<Buffer> {
    const file = this.places.get(tensor)?.file;
    if (file === undefined) throw new Error(`${tensor} is missing`);
    const known = this.open.get(file) ?? RawSafetensors.open(join(this.directory, file));
    this.open.set(file, known);
    return (await known).read(tensor);
  }

  async close(): Promise<void> {
    const opened = await Promise.allSettled(this.open.values());
    for (const file of opened) if (file.status === 'fulfilled') await file.value.close();
  }
}
