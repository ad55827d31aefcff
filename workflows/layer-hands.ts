import { condition, defineQuery, defineSignal, setCurrentDetails, setHandler } from '@temporalio/workflow';
import type {
  ActivationRefs,
  BlockOutline,
  CalibratedSlice,
  HessianSource,
  MergeInput,
  MismatchInput,
  PassedSlice,
  QuantizedLinears,
} from '../activities';
import type { ArtifactRef, LayerProgress } from '../engine/spec';
import { PROGRESS_QUERY } from '../engine/spec/job';
import { onCpu, onGpu, onGpuAhead, onGpuNear } from './activity-proxies';
import { inLanes } from './in-lanes';
import { inWindow } from './in-window';
import { LayerLedger } from './layer-ledger';

export const layerProgress = defineQuery<LayerProgress>(PROGRESS_QUERY);
export const setPaused = defineSignal<[boolean]>('setPaused');

/** By module name, or many in a document. */
export type QuantizedRefs = QuantizedLinears['linears'];

/** As many slices as a fleet can work on at once; Temporal allows 2,000 pending activities. */
export const SLICES_AT_ONCE = 200;

/** How a stage is run, and what for. */
export interface StageWishes {
  /** The linears that are applied as quantized. */
  readonly quantized: QuantizedRefs;
  /** XᵀX of the captured input. */
  readonly gram: boolean;
  /** The largest magnitude of the captured input. */
  readonly magnitudes?: true;
  /** Of the first slices: the original model behind the linear whose input is captured. Asks for what that input knows of what has gone wrong. */
  readonly original?: readonly ArtifactRef[];
}

/** What is known of a captured input beside its Hessian. */
export interface KnownOfInput {
  readonly mismatch?: MismatchInput;
  /** Documents, by slice. */
  readonly magnitudes?: readonly ArtifactRef[];
}

/** The moves that a layer's workflows are made of, with their books kept and pauses respected. */
export interface LayerHands {
  readonly ledger: LayerLedger;
  /** Runs one stage on every slice. */
  runStage(stage: string, slices: readonly ActivationRefs[], wishes: StageWishes): Promise<CalibratedSlice[]>;
  /** Takes slices of the original model from behind the layer's first stage to behind the next layer's. */
  passOriginal(slices: readonly ActivationRefs[]): Promise<PassedSlice[]>;
  mergeHessian(stage: string, grams: MergeInput): Promise<ArtifactRef>;
  /** Measures the error of the stage's linears at every width. @returns document: WidthErrors[]. */
  measureWidths(stage: string, hessian: ArtifactRef | null): Promise<ArtifactRef>;
  /** Quantizes the linears whose input a stage has captured; sums of slices are merged first, by the same activity. */
  quantize(stage: string, hessian: HessianSource | null, known?: KnownOfInput): Promise<QuantizedLinears>;
}

export function layerHands(input: {
  readonly plan: ArtifactRef;
  readonly table: ArtifactRef;
  readonly block: BlockOutline;
  /** Activities that share the rows of a stage; default 1. */
  readonly solveParts?: number;
}): LayerHands {
  const { plan, table, block, solveParts = 1 } = input;
  const ledger = new LayerLedger(block);
  let paused = false;
  setHandler(layerProgress, () => ledger.progress());
  setHandler(setPaused, (value) => {
    paused = value;
  });
  const kept = (result: QuantizedLinears) => {
    ledger.quantized(result);
    return result;
  };
  return {
    ledger,
    async runStage(stage, slices, { original, ...wishes }) {
      await condition(() => !paused);
      setCurrentDetails(ledger.begin(stage));
      const results = await inLanes(
        slices.map(nearest),
        (slice, queue) => {
          const summary = `${block.name} · ${stage} · slice ${slice + 1} of ${slices.length}`;
          const worker = queue === undefined ? onGpu(summary) : onGpuNear(queue, summary);
          return worker.calibrateSlice({
            plan,
            table,
            block: block.index,
            stage,
            activations: slices[slice] as ActivationRefs,
            ...wishes,
            ...(original?.[slice] && { original: original[slice] }),
          });
        },
        ({ activations }) => nearest(activations),
        SLICES_AT_ONCE,
      );
      ledger.calibrated(results);
      return results;
    },
    async passOriginal(slices) {
      await condition(() => !paused);
      const results = await inWindow(
        slices,
        () => SLICES_AT_ONCE,
        (activations, slice) =>
          onGpuAhead(`${block.name} · original · slice ${slice + 1} of ${slices.length}`).passOriginal({
            plan,
            table,
            block: block.index,
            activations,
          }),
      );
      ledger.passedOriginal(results);
      return results;
    },
    async mergeHessian(stage, grams) {
      const merged = await onCpu(`${block.name} · ${stage} · Hessian`).mergeHessian(grams);
      ledger.merged(merged);
      return merged.hessian;
    },
    async measureWidths(stage, hessian) {
      const measured = await onCpu(`${block.name} · ${stage} · widths`).measureWidths({
        plan,
        table,
        block: block.index,
        stage,
        hessian,
      });
      ledger.measured(measured);
      return measured.errors;
    },
    async quantize(stage, hessian, known = {}) {
      await condition(() => !paused);
      const place = { plan, table, block: block.index, stage, ...known };
      if (solveParts === 1) {
        const whole = onCpu(`${block.name} · ${stage} · quantize`);
        return kept(await whole.quantizeLinears({ ...place, hessian, parts: [] }));
      }
      const merged = hessian !== null && 'parts' in hessian ? await this.mergeHessian(stage, hessian) : hessian;
      const parts = await Promise.all(
        Array.from({ length: solveParts }, (_, part) =>
          onCpu(`${block.name} · ${stage} · rows, part ${part + 1} of ${solveParts}`).quantizeRows({
            ...place,
            ...{ hessian: merged, part, parts: solveParts },
          }),
        ),
      );
      for (const part of parts) ledger.solved(part);
      await condition(() => !paused);
      const solved = parts.map((part) => part.solved);
      const join = onCpu(`${block.name} · ${stage} · join rows`);
      const whole = solved.some((part) => Object.keys(part).length === 0);
      return kept(await join.quantizeLinears({ ...place, hessian: merged, parts: whole ? [] : solved }));
    },
  };
}

/** Queue of the worker that has them at hand; undefined: nobody in particular. */
function nearest(activations: ActivationRefs): string | undefined {
  return Object.values(activations).find(({ near }) => near)?.near;
}

/** What the Hessian of a captured input is merged from. */
export function gramsOf(results: readonly CalibratedSlice[]): MergeInput {
  return { parts: results.map(({ gram, tokens }) => ({ gram: gram as ArtifactRef, tokens })) };
}

/** What the mismatch of the linear behind a stage, and the largest magnitude of its input, are merged from; empty when nobody asked for them. */
export function knownOf(results: readonly CalibratedSlice[]): KnownOfInput {
  const parts = results.flatMap(({ mismatch }) => mismatch ?? []);
  const magnitudes = magnitudesOf(results);
  return { ...(parts.length > 0 && { mismatch: { parts } }), ...(magnitudes.length > 0 && { magnitudes }) };
}

/** Documents, by slice; none when nobody asked for them. */
export function magnitudesOf(results: readonly CalibratedSlice[]): readonly ArtifactRef[] {
  return results.flatMap(({ magnitudes }) => magnitudes ?? []);
}

/** What the next stage starts from. */
export function activationsOf(results: readonly CalibratedSlice[]): ActivationRefs[] {
  return results.map(({ activations }) => activations);
}
