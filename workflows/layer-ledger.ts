import type {
  ActivationRefs,
  BlockHistory,
  BlockOutline,
  CalibratedSlice,
  Effort,
  MergedHessian,
  QuantizedLinears,
  QuantizedRowsOfStage,
} from '../activities';
import type { ArtifactRef, LayerProgress, MeanErrors } from '../engine/spec';

/** Keeps the books of one layer: what was computed, what came from the store, how long it took, how well it went. */
export class LayerLedger {
  /** Documents: LinearReport[], one per quantized stage. */
  readonly reports: ArtifactRef[] = [];
  private readonly started = Date.now();
  private readonly seconds: Record<string, number> = {};
  private readonly errors: number[] = [];
  private readonly errorsBeforeRefinement: number[] = [];
  private readonly transient = new Set<string>();
  private readonly stagesBegun: string[] = [];
  private computed = 0;
  private cached = 0;
  private secondsSaved = 0;
  private calibrationTokens = 0;
  private nonFiniteSequences = 0;
  private tokensComputed = 0;

  constructor(private readonly block: BlockOutline) {}

  /** Marks a stage as begun; returns what Temporal's UI shows of the layer now. */
  begin(stage: string): string {
    const done = this.stagesBegun.map((name) => `- ${name}: done`);
    this.stagesBegun.push(stage);
    return [`**${this.block.name}**`, ...done, `- ${stage}: running`].join('\n');
  }

  calibrated(slices: readonly CalibratedSlice[]): void {
    for (const slice of slices) {
      this.count('calibrate-slice', slice);
      for (const { sha256 } of Object.values(slice.activations)) this.transient.add(sha256);
      if (slice.gram) this.transient.add(slice.gram.sha256);
      for (const sum of [slice.mismatch?.sum, slice.mismatch?.gram]) if (sum) this.transient.add(sum.sha256);
      if (!slice.cached) this.tokensComputed += slice.tokens;
    }
    const nonFinite = sum(slices.map(({ nonFiniteSequences }) => nonFiniteSequences));
    this.nonFiniteSequences = Math.max(this.nonFiniteSequences, nonFinite);
  }

  /** Slices of the original model. */
  passedOriginal(slices: readonly Effort[]): void {
    for (const slice of slices) this.count('pass-original', slice);
  }

  merged(hessian: MergedHessian): void {
    this.count('merge-hessian', hessian);
    this.calibrationTokens = hessian.tokens;
  }

  measured(widths: Effort): void {
    this.count('measure-widths', widths);
  }

  solved(rows: QuantizedRowsOfStage): void {
    this.count('quantize-rows', rows);
    for (const { sha256 } of Object.values(rows.solved)) this.transient.add(sha256);
  }

  quantized(linears: QuantizedLinears): void {
    if (linears.merged) this.merged(linears.merged);
    this.count('quantize-linears', linears);
    this.reports.push(linears.reports);
    const { relativeError, relativeErrorBeforeRefinement } = linears;
    if (relativeError !== null) this.errors.push(relativeError);
    if (relativeErrorBeforeRefinement !== null) this.errorsBeforeRefinement.push(relativeErrorBeforeRefinement);
  }

  /** Activations and partial Hessians of this layer that are not among those to keep. */
  intermediates(keep: readonly ActivationRefs[]): string[] {
    const kept = new Set(keep.flatMap((refs) => Object.values(refs).map(({ sha256 }) => sha256)));
    return [...this.transient].filter((sha256) => !kept.has(sha256));
  }

  history(skipped: boolean): BlockHistory {
    const { calibrationTokens, nonFiniteSequences, seconds, computed, cached } = this;
    return { calibrationTokens, nonFiniteSequences, seconds, computed, cached, skipped };
  }

  totals(): MeanErrors & Pick<LayerProgress, 'computed' | 'cached' | 'secondsSaved' | 'seconds'> {
    return {
      relativeError: mean(this.errors),
      relativeErrorBeforeRefinement: mean(this.errorsBeforeRefinement),
      computed: this.computed,
      cached: this.cached,
      secondsSaved: this.secondsSaved,
      seconds: (Date.now() - this.started) / 1000,
    };
  }

  progress(): LayerProgress {
    const totals = this.totals();
    const stages = Math.max(this.block.stages.length, 1);
    return {
      index: this.block.index,
      name: this.block.name,
      state: 'running',
      stage: this.stagesBegun.at(-1) ?? '',
      // A token counts as done when it went through every stage of the layer.
      tokensPerSecond: this.tokensComputed > 0 ? this.tokensComputed / stages / Math.max(totals.seconds, 1e-3) : null,
      ...totals,
    };
  }

  private count(activity: string, { cached, seconds, secondsSaved }: Effort): void {
    if (cached) this.cached += 1;
    else this.computed += 1;
    this.secondsSaved += secondsSaved;
    this.seconds[activity] = (this.seconds[activity] ?? 0) + seconds;
  }
}

function mean(values: readonly number[]): number | null {
  return values.length > 0 ? sum(values) / values.length : null;
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}
