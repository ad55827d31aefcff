import {
  formatOf,
  type KeptStorage,
  layoutsWithin,
  recordedLinears,
  type SignedReport,
  type StoredDigests,
  serializeSafetensors,
  storedDigests,
  type WeightForm,
  weightForms,
  withStoredDigests,
} from '../engine/checkpoints';
import { decodeFloats, encodeFloats } from '../engine/numbers';
import { parseQuantizedLinear, type QuantizedLinear } from '../engine/quantizers';
import type { ArtifactRef, BlockReport, ModelPlan, QuantizationSpec, Tensor, TensorTable } from '../engine/spec';
import { dropActivations } from './drop-activations';
import { type LinearRefs, namedLinears } from './linear-refs';
import { readDocument, viewModel } from './model-view';
import { readTensor } from './read-tensor';
import type { ActivityRuntime, Attempt } from './runtime';
import { asStored } from './source-tensor';
import { defineStep, type Effort, perform, readingBench, together } from './step';
import { verifyStoredShard } from './verify-shard';

export interface PackedLayer extends Effort {
  /** By format: a complete safetensors file with the block's tensors as the checkpoint will have them. */
  readonly shards: Readonly<Record<string, ArtifactRef>>;
  /** Document: BlockReport; null for the remainder. */
  readonly report: ArtifactRef | null;
}

interface PackedShard {
  readonly shard: ArtifactRef;
  /** Absent: readers of the format get to the last bit what the quantizer meant. */
  readonly digests?: StoredDigests;
}

interface PackInput {
  readonly format: QuantizationSpec['formats'][number];
  readonly layout: string;
  /** By module name. */
  readonly quantized: Readonly<Record<string, ArtifactRef>>;
  /** Tensors that stay as the table has them, by name. */
  readonly kept: Readonly<Record<string, ArtifactRef>>;
  /** Of kept tensors that are written in another dtype than the table's, by name. */
  readonly dtypes?: Readonly<Record<string, 'F32' | 'F16' | 'BF16'>>;
  /** By module name, of linears that are stored as something else than the layout. */
  readonly layouts?: Readonly<Record<string, string>>;
  /** By module name, for formats that store floats. */
  readonly forms?: Readonly<Record<string, WeightForm>>;
  /** Of kept tensors that the format stores in another way than the source, by name. */
  readonly storage?: KeptStorage;
}

const packStep = defineStep({
  name: 'pack-layer',
  version: 1,
  run: async (
    { format: name, layout, layouts = {}, quantized, kept, dtypes = {}, forms = {}, storage = {} }: PackInput,
    bench,
  ): Promise<PackedShard> => {
    const format = formatOf(name);
    const tensors = new Map<string, Tensor>();
    const digests: Record<string, string> = {};
    for (const [module, ref] of Object.entries(quantized)) {
      const linear: QuantizedLinear = parseQuantizedLinear(await bench.read(ref));
      const encoded = format.encodeLinear(module, linear, layouts[module] ?? layout, forms[module]);
      for (const [tensor, value] of encoded) tensors.set(tensor, value);
      Object.assign(digests, storedDigests(format, [[module, linear]], forms));
    }
    for (const [name, ref] of Object.entries(kept)) {
      const tensor = await readTensor(ref, bench);
      const dtype = dtypes[name];
      const written = dtype ? { ...tensor, dtype, data: encodeFloats(decodeFloats(tensor), dtype) } : tensor;
      const stored = (await format.encodeKept?.(name, written, storage[name])) ?? [[name, written] as const];
      for (const [part, value] of stored) tensors.set(part, value);
    }
    const shard = await bench.write('layer', serializeSafetensors(tensors));
    return Object.keys(digests).length > 0 ? { shard, digests } : { shard };
  },
});

/** What the workflow knows of a block's history, for its report. */
export type BlockHistory = Omit<BlockReport, 'linears' | 'index' | 'name'>;

/**
 * Stores a finished block in its final format, so that assembling the checkpoint is linking, not packing; and verifies what is stored.
 * What only this block read is dropped then. Without `block`: the tensors that no block owns (embeddings, final norm, a head that is kept).
 *
 * @throws QuantloomError VerificationFailed when a shard does not hold what the quantizer meant.
 */
export async function packLayer(
  input: {
    plan: ArtifactRef;
    table: ArtifactRef;
    block: number | null;
    quantized: LinearRefs;
    /** Documents: SignedReport[], one per stage. */
    reports: readonly ArtifactRef[];
    history: BlockHistory | null;
    /** SHA-256 of artifacts that nobody reads once the block is packed. */
    retired: readonly string[];
  },
  runtime: ActivityRuntime,
  attempt: Attempt,
): Promise<PackedLayer> {
  const { plan } = await viewModel(input.plan, runtime, attempt);
  const table = await readDocument<TensorTable>(input.table, runtime, attempt);
  const quantized = await namedLinears(input.quantized, runtime, attempt);
  const names = input.block === null ? plan.remainder : (plan.blocks[input.block]?.tensors ?? []);
  const kept = Object.fromEntries(
    names
      .filter((name) => !(name.replace(/\.weight$/, '') in quantized))
      .map((name) => [name, asStored(table[name] as ArtifactRef)]),
  );
  const dtypes = dtypesToWrite(kept, plan);
  const planned = plan.blocks.flatMap((block) => block.stages.flatMap((stage) => stage.linears));
  const own = planned.filter(({ name }) => name in quantized);
  let reports: readonly SignedReport[] = await readReports(input.reports, runtime, attempt);
  const shards: Record<string, ArtifactRef> = {};
  const efforts: Effort[] = [];
  for (const format of plan.spec.formats) {
    const { layout: layoutFor, storage: linearStorage, keptStorage } = formatOf(format);
    const layout = layoutFor(planned);
    const forms = linearStorage.floats && weightForms(plan, Object.keys(quantized));
    const storage = storageOf(kept, keptStorage?.(plan) ?? {});
    const layouts = layoutsWithin(formatOf(format), layout, own);
    const ways = {
      ...(Object.keys(layouts).length > 0 && { layouts }),
      ...(forms && { forms }),
      ...(Object.keys(storage).length > 0 && { storage }),
    };
    const packed = await perform(packStep, { format, layout, quantized, kept, dtypes, ...ways }, runtime, attempt);
    const { shard, digests } = packed;
    shards[format] = shard;
    reports = withStoredDigests(reports, format, digests);
    const linears = {
      ...recordedLinears(
        reports.map((report) => ({ ...report, weightSha256: digests?.[report.name] ?? report.weightSha256 })),
      ),
      ...formatOf(format).recordKept?.(storage),
    };
    efforts.push(packed, await verifyStoredShard({ shard, format, layout, linears }, runtime, attempt));
  }
  const report = await storeReport(input, reports, plan.blocks, runtime);
  await dropActivations({ sha256s: input.retired }, runtime);
  return { shards, report, ...together(efforts) };
}

/** Rotated weights are float32 in the table; a layer that is skipped is written like the source. undefined: all fit. */
function dtypesToWrite(kept: PackInput['kept'], { tensors }: ModelPlan): PackInput['dtypes'] {
  const other = Object.entries(kept).filter(([name, { dtype }]) => dtype !== tensors[name]?.dtype);
  if (other.length === 0) return undefined;
  return Object.fromEntries(other.map(([name]) => [name, tensors[name]?.dtype as 'F32' | 'F16' | 'BF16']));
}

/** What is said of the tensors at hand. */
function storageOf(kept: PackInput['kept'], storage: KeptStorage): KeptStorage {
  return Object.fromEntries(Object.entries(storage).filter(([name]) => name in kept));
}

async function readReports(
  refs: readonly ArtifactRef[],
  runtime: ActivityRuntime,
  attempt: Attempt,
): Promise<SignedReport[]> {
  const bench = readingBench(runtime, attempt);
  const reports: SignedReport[] = [];
  for (const ref of refs) reports.push(...(await bench.readDocument<SignedReport[]>(ref)));
  return reports;
}

async function storeReport(
  input: Parameters<typeof packLayer>[0],
  linears: readonly SignedReport[],
  blocks: readonly { readonly index: number; readonly name: string }[],
  { store }: ActivityRuntime,
): Promise<ArtifactRef | null> {
  const block = input.block === null ? undefined : blocks[input.block];
  if (!block || !input.history) return null;
  const report: BlockReport = { index: block.index, name: block.name, linears, ...input.history };
  const content = Buffer.from(JSON.stringify(report));
  return { kind: 'document', sha256: await store.put(content), bytes: content.byteLength };
}
