import type { ActivationRefs, BlockHistory, BlockOutline, HessianSource } from '../activities';
import type { ArtifactRef, MeanErrors, QuantizationSpec } from '../engine/spec';
import { captureHessians, type MagnitudesByStage } from './capture-hessians';
import { activationsOf, gramsOf, knownOf, type LayerHands, layerHands, type QuantizedRefs } from './layer-hands';
import type { OriginalLayer } from './pass-original-layer';

export interface LayerInput {
  /** Documents: JobPlan, TensorTable. */
  readonly plan: ArtifactRef;
  readonly table: ArtifactRef;
  readonly block: BlockOutline;
  readonly order: QuantizationSpec['order'];
  readonly solveParts: number;
  /** What the layer before left behind, by slice; empty when nothing is calibrated here. */
  readonly activations: readonly ActivationRefs[];
  /** The last linears of the layer before: this layer's first stage applies them. */
  readonly applied: QuantizedRefs;
  /** By stage, when they were captured before (order `independent`). */
  readonly hessians: Readonly<Record<string, HessianSource | null>>;
  /** The same of the largest magnitudes of inputs. Absent from jobs of before there were any. */
  readonly magnitudes?: MagnitudesByStage;
  /** Where linears make up for what has gone wrong upstream: the original model's hidden states behind them, by stage, then by slice. */
  readonly original: OriginalLayer['behind'];
  /** Keep the layer in 16 bit. */
  readonly skip: boolean;
  /** SHA-256 of artifacts that no layer reads any more. */
  readonly retired: readonly string[];
}

/** A layer that needs only be packed. */
export interface LayerResult extends MeanErrors {
  /** By slice: what the next layer starts from. */
  readonly activations: readonly ActivationRefs[];
  /** The linears that the next layer's first stage applies. */
  readonly applied: QuantizedRefs;
  readonly quantized: QuantizedRefs;
  /** Documents: LinearReport[], one per quantized stage. */
  readonly reports: readonly ArtifactRef[];
  readonly history: BlockHistory;
  /** SHA-256 of artifacts that nobody reads once the layer is packed. */
  readonly retired: readonly string[];
  readonly computed: number;
  readonly cached: number;
  readonly secondsSaved: number;
  readonly seconds: number;
}

type Solved = Pick<LayerResult, 'activations' | 'applied' | 'quantized'>;

/** Quantizes the linears of one layer. */
export async function quantizeLayer(input: LayerInput): Promise<LayerResult> {
  const hands = layerHands(input);
  const { ledger } = hands;
  const solve = input.activations.length === 0 ? solveOnly : input.order === 'stage' ? stageByStage : layerAtOnce;
  const solved = await solve(input, hands);
  return {
    ...solved,
    reports: ledger.reports,
    history: ledger.history(input.skip),
    retired: [...input.retired, ...ledger.intermediates([...input.activations, ...solved.activations])],
    ...ledger.totals(),
  };
}

/** True-sequential: what a stage captures is quantized before the next stage runs, so every FLOP is done once. */
async function stageByStage({ block, skip, original, ...input }: LayerInput, hands: LayerHands): Promise<Solved> {
  let { activations, applied } = input;
  let quantized: QuantizedRefs = {};
  for (const { name, linears, calibrated, magnitudes, makesUpFor } of block.stages) {
    const wanted = linears > 0 && !skip;
    const behind = wanted && makesUpFor ? original[makesUpFor] : undefined;
    const wishes = {
      quantized: applied,
      gram: wanted && calibrated,
      ...(wanted && magnitudes && { magnitudes }),
      ...(behind && { original: behind }),
    };
    const slices = await hands.runStage(name, activations, wishes);
    activations = activationsOf(slices);
    const hessian = calibrated ? gramsOf(slices) : null;
    applied = wanted ? (await hands.quantize(name, hessian, knownOf(slices))).linears : {};
    quantized = { ...quantized, ...applied };
  }
  return { activations, applied, quantized };
}

/** The whole layer is captured with its own original weights; then the activations pass through the quantized ones. */
async function layerAtOnce(input: LayerInput, hands: LayerHands): Promise<Solved> {
  const { block, applied, skip } = input;
  const captured = await captureHessians(hands, block, input.activations, applied, async (_, grams) => grams);
  if (skip) return { activations: captured.activations, applied: {}, quantized: {} };
  const { hessians, magnitudes } = captured;
  const { quantized } = await solveOnly({ ...input, hessians, magnitudes }, hands);
  let activations = captured.afterFirstStage;
  for (const { name } of block.stages.slice(1)) {
    activations = activationsOf(await hands.runStage(name, activations, { quantized, gram: false }));
  }
  return { activations, applied: quantized, quantized };
}

/** No activations: the Hessians are there already, or none is needed. */
async function solveOnly({ block, hessians, magnitudes = {}, skip }: LayerInput, hands: LayerHands): Promise<Solved> {
  let quantized: QuantizedRefs = {};
  for (const { name, linears } of skip ? [] : block.stages) {
    if (linears === 0) continue;
    const known = magnitudes[name] ? { magnitudes: magnitudes[name] } : {};
    quantized = { ...quantized, ...(await hands.quantize(name, hessians[name] ?? null, known)).linears };
  }
  return { activations: [], applied: quantized, quantized };
}
