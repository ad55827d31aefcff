import { mkdir, rm, writeFile } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { basename, dirname, join, resolve } from 'node:path';
import {
  encodeDocuments,
  loadTokenizer,
  originalSequences,
  readCalibrationText,
  sampleSequences,
} from '../calibration';
import {
  assembleCheckpoint,
  type CheckpointFormat,
  completeManifest,
  describeFile,
  formatOf,
  isBucketOutput,
  type KeptStorage,
  layoutsWithin,
  publishDirectory,
  publishImportance,
  type SignedReport,
  serializeSafetensors,
  smallestZeroOf,
  storedDigests,
  type WeightForm,
  weightForms,
  withStoredDigests,
} from '../checkpoints';
import { computationVersions } from '../computation-versions';
import { planModel } from '../planning';
import { fingerprintFile, obtainModel, type SourceAccess } from '../sources';
import {
  type BlockReport,
  elementCount,
  type FloatTensor,
  type ModelPlan,
  parseQuantizationSpec,
  type QuantizationSpec,
  type QuantizationSpecInput,
  QuantloomError,
  type Tensor,
} from '../spec';
import { chooseWidths } from './choose-widths';
import { type Activations, type DirectModel, openDirectModel, type QuantizedLinears } from './direct-model';
import { importanceOfModel } from './importance-of-model';
import { type Chain, quantizeBlock } from './quantize-block';

export interface DirectOptions {
  /** Default: all cores. The result does not depend on it. */
  readonly threads?: number;
  /** For models from elsewhere, and quantized ones. Default: refused. */
  readonly sources?: SourceAccess;
  readonly onBlock?: (report: BlockReport) => void;
}

/** One block, or what no block owns (`quantized` empty). */
interface FinishedBlock {
  readonly names: readonly string[];
  readonly quantized: QuantizedLinears;
}

/**
 * Quantizes a model in this process, without Temporal, without a store: nothing survives a crash. The weight files have the same
 * bytes as those of the workflow `quantizeModel` with the same spec. Memory: the activations of all slices, and the quantized model.
 *
 * @returns the directories of the checkpoints, by format; of an importance matrix the file, under `imatrix`.
 * @throws QuantloomError InvalidSpecification, PlanRefused, UnsupportedInput for scaled channels, and whatever its input deserves; then no output is written.
 */
export async function quantizeDirect(
  input: QuantizationSpecInput,
  { threads = availableParallelism(), sources, onBlock }: DirectOptions = {},
): Promise<Record<string, string>> {
  const spec = parseQuantizationSpec(input);
  if (isBucketOutput(spec.output)) {
    const message = `output: quantizeDirect writes directories, and ${spec.output} is in a bucket. Run it as a job (quantloom quantize).`;
    throw new QuantloomError('UnsupportedInput', message);
  }
  const { plan: planned, estimate } = await planModel(spec, { sources });
  if (estimate.refusals.length > 0) {
    throw new QuantloomError(
      'PlanRefused',
      estimate.refusals.map(({ where, message }) => `${where}: ${message}`).join('\n'),
    );
  }
  if (spec.scaling !== 'none') {
    throw new QuantloomError(
      'UnsupportedInput',
      'scaling: quantizeDirect does not scale channels. Run it as a job (quantloom quantize), or set scaling to none.',
    );
  }
  if (planned.origin && sources) await obtainModel({ directory: planned.directory, origin: planned.origin }, sources);
  const sourceFiles = await fingerprintModel(planned);
  const model = openDirectModel(planned, spec, { threads });
  const calibration = planned.slices.length > 0 ? await calibrate(spec, planned) : null;
  const minimumZero = smallestZeroOf(spec.formats);

  const embedded = await embedSlices(model, planned, calibration?.tokens, spec);
  if (spec.importanceOnly) {
    const content = await importanceOfModel(model, planned, spec, embedded);
    const path = resolve(spec.output);
    const staging = join(dirname(path), `.${basename(path)}.quantloom-direct-${process.pid}`);
    await publishImportance(path, content, { staging, overwrite: spec.overwrite });
    return { imatrix: path };
  }
  const plan = await chooseWidths(model, planned, spec, embedded, { minimumZero, threads });

  const mismatched = plan.blocks.some(({ stages }) =>
    stages.some(({ linears }) => linears.some(({ recipe }) => recipe?.mismatch)),
  );
  const { originalShare } = spec.calibration;
  let chain: Chain = {
    activations: embedded,
    applied: new Map(),
    // The first stage of the first block applies nothing: what is behind it is what is before it.
    ...(mismatched && {
      original: originalSequences(plan.slices, originalShare).flatMap((count, slice) =>
        count > 0 ? [firstSequences(embedded[slice] as Activations, count)] : [],
      ),
    }),
  };
  const finished: FinishedBlock[] = [];
  const reports: BlockReport[] = [];
  for (const block of plan.blocks) {
    const result = await quantizeBlock(model, block, chain, { ...spec, minimumZero, threads });
    chain = result;
    finished.push({ names: block.tensors, quantized: result.quantized });
    const { index, name } = block;
    const { reports: linears, calibrationTokens } = result;
    const report = {
      index,
      name,
      linears,
      calibrationTokens,
      nonFiniteSequences: 0,
      seconds: {},
      computed: 0,
      cached: 0,
      skipped: false,
    };
    reports.push(report);
    onBlock?.(report);
  }
  finished.push({ names: plan.remainder, quantized: new Map() });
  return write(model, plan, spec, finished, { reports, sourceFiles, calibration: calibration?.identity ?? null });
}

async function fingerprintModel(plan: ModelPlan): Promise<Record<string, { sha256: string; bytes: number }>> {
  const tensors = Object.values(plan.tensors).filter(({ copyOf }) => copyOf === undefined);
  const files: Record<string, { sha256: string; bytes: number }> = {};
  for (const file of [...new Set(tensors.map((tensor) => tensor.file))].sort()) {
    files[file] = await fingerprintFile(plan.directory, file, tensors);
  }
  return files;
}

async function calibrate({ calibration }: QuantizationSpec, { directory }: ModelPlan) {
  const { source, samples, sequenceLength, seed } = calibration;
  const { documents, sha256 } = await readCalibrationText(source);
  const encoded = await encodeDocuments(await loadTokenizer(directory), documents);
  const tokens = sampleSequences(encoded, { samples, sequenceLength, seed });
  const tokensSha256 = describeFile('', new Uint8Array(tokens.buffer, tokens.byteOffset, tokens.byteLength)).sha256;
  return { tokens, identity: { sourceSha256: sha256, tokensSha256, samples, sequenceLength, seed } };
}

async function embedSlices(
  model: DirectModel,
  { slices }: ModelPlan,
  tokens: Int32Array | undefined,
  { calibration: { sequenceLength } }: QuantizationSpec,
): Promise<Activations[]> {
  const activations: Activations[] = [];
  for (const { firstSequence, sequences } of slices) {
    const begin = firstSequence * sequenceLength;
    const slice = (tokens as Int32Array).subarray(begin, begin + sequences * sequenceLength);
    activations.push(await model.embed(slice, sequenceLength));
  }
  return activations;
}

function firstSequences({ hidden }: Activations, count: number): Activations {
  const { shape, data } = hidden as FloatTensor;
  const [, ...rest] = shape;
  return { hidden: { shape: [count, ...rest], data: data.subarray(0, count * elementCount(rest)) } };
}

async function write(
  model: DirectModel,
  plan: ModelPlan,
  spec: QuantizationSpec,
  blocks: readonly FinishedBlock[],
  known: Pick<Parameters<typeof assembleCheckpoint>[1], 'reports' | 'sourceFiles' | 'calibration'>,
): Promise<Record<string, string>> {
  const output = resolve(spec.output);
  const staging = join(dirname(output), `.${basename(output)}.quantloom-direct-${process.pid}`);
  const run = { job: null, started: new Date().toISOString(), seconds: 0, computed: 0, cached: 0 };
  const outputs: Record<string, string> = {};
  try {
    for (const name of spec.formats) {
      const format = formatOf(name);
      const place = (root: string) => (spec.formats.length > 1 ? join(root, name) : root);
      const directory = place(staging);
      await mkdir(directory, { recursive: true });
      const linears = plan.blocks.flatMap(({ stages }) => stages.flatMap((stage) => stage.linears));
      const layout = format.layout(linears);
      const layouts = layoutsWithin(format, layout, linears);
      const storage = format.keptStorage?.(plan) ?? {};
      const shards = blocks.map((block) => ({
        async exportTo(path: string) {
          const forms = weightForms(plan, block.quantized.keys());
          const content = serializeSafetensors(
            await tensorsOf(model, block, format, { layout, layouts, forms, storage }),
          );
          await writeFile(path, content);
          return describeFile(basename(path), content);
        },
      }));
      const forms = (quantized: FinishedBlock['quantized']) => weightForms(plan, quantized.keys());
      const digests = blocks.map(({ quantized }) => storedDigests(format, quantized, forms(quantized)));
      const reports = known.reports.map((report, index) => ({
        ...report,
        linears: withStoredDigests(report.linears as readonly SignedReport[], name, digests[index]),
      }));
      const versions = await computationVersions();
      await assembleCheckpoint(directory, {
        plan,
        spec,
        format,
        shards,
        versions,
        run,
        ...known,
        reports,
      });
      await completeManifest(directory, { perplexity: null, run, sourceBytes: plan.sourceBytes });
      outputs[name] = place(output);
    }
    await publishDirectory(staging, output, spec.overwrite);
  } finally {
    await rm(staging, { recursive: true, force: true });
  }
  return outputs;
}

/** How a format stores what it is given. */
interface Ways {
  readonly layout: string;
  /** By module, where it is another. */
  readonly layouts: Readonly<Record<string, string>>;
  readonly forms: Readonly<Record<string, WeightForm>>;
  readonly storage: KeptStorage;
}

/** A block's tensors in their final format. */
async function tensorsOf(
  model: DirectModel,
  { names, quantized }: FinishedBlock,
  format: CheckpointFormat,
  { layout, layouts, forms, storage }: Ways,
): Promise<Map<string, Tensor>> {
  const tensors = new Map<string, Tensor>();
  for (const [module, linear] of quantized) {
    const encoded = format.encodeLinear(module, linear, layouts[module] ?? layout, forms[module]);
    for (const [name, tensor] of encoded) tensors.set(name, tensor);
  }
  for (const name of names) {
    if (quantized.has(name.replace(/\.weight$/, ''))) continue;
    const tensor = await model.tensor(name);
    const stored = (await format.encodeKept?.(name, tensor, storage[name])) ?? [[name, tensor] as const];
    for (const [part, value] of stored) tensors.set(part, value);
  }
  return tensors;
}
