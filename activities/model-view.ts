import { architectureOf } from '../engine/models';
import type { Architecture, Block, ModelShape, Stage } from '../engine/models/architecture';
import type { ArtifactRef, ModelPlan, QuantizationSpec, TensorTable } from '../engine/spec';
import type { ActivityRuntime, Attempt } from './runtime';
import { readingBench } from './step';

/** What inspection keeps: the plan, and the spec that it was made for. */
export interface JobPlan extends ModelPlan {
  readonly spec: QuantizationSpec;
  /** Document: ImportanceTable. Absent: no importance is read from a file. */
  readonly importanceTable?: ArtifactRef;
}

/** The document that describes a job's model, opened. */
export interface ModelView {
  readonly plan: JobPlan;
  readonly architecture: Architecture;
  readonly shape: ModelShape;
  /** Decoder layers, then the head, as the architecture's table has them. */
  readonly blocks: readonly Block[];
}

const RECENT = 4;
const documents = new Map<string, Promise<unknown>>();

/** A document from the store; the last few are kept in memory, as every activity of a job reads the same ones. */
export function readDocument<T>(ref: ArtifactRef, runtime: ActivityRuntime, attempt: Attempt): Promise<T> {
  const known = documents.get(ref.sha256);
  const document = known ?? readingBench(runtime, attempt).readDocument<T>(ref);
  documents.delete(ref.sha256);
  documents.set(ref.sha256, document);
  document.catch(() => documents.delete(ref.sha256));
  if (documents.size > RECENT) documents.delete(documents.keys().next().value as string);
  return document as Promise<T>;
}

export async function viewModel(plan: ArtifactRef, runtime: ActivityRuntime, attempt: Attempt): Promise<ModelView> {
  return describeModel(await readDocument<JobPlan>(plan, runtime, attempt));
}

const described = new WeakMap<JobPlan, ModelView>();

/** Once for every plan that is in memory: the blocks of a model with many experts are tens of thousands of linears. */
export function describeModel(plan: JobPlan): ModelView {
  const view = described.get(plan) ?? newView(plan);
  described.set(plan, view);
  return view;
}

function newView(plan: JobPlan): ModelView {
  const architecture = architectureOf(plan.config, (tensor) => tensor in plan.tensors);
  const shape = architecture.shape(plan.config);
  return { plan, architecture, shape, blocks: architecture.blocks(shape, (tensor) => tensor in plan.tensors) };
}

/** One stage of one block. */
export function stageOf(blocks: readonly Block[], at: { readonly block: number; readonly stage: string }): Stage {
  return blocks[at.block]?.stages.find(({ name }) => name === at.stage) as Stage;
}

/** References of the tensors with these names. */
export function tensorRefs(table: TensorTable, names: readonly string[]): Record<string, ArtifactRef> {
  return Object.fromEntries(names.map((name) => [name, table[name] as ArtifactRef]));
}
