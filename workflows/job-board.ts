import { defineSearchAttributeKey, SearchAttributeType } from '@temporalio/common';
import { condition, setCurrentDetails, upsertSearchAttributes } from '@temporalio/workflow';
import type { BlockOutline, Effort, InspectedModel } from '../activities';
import type { JobPhase, LayerProgress, Progress } from '../engine/spec';
import type { LayerResult } from './quantize-layer';

const MODEL = defineSearchAttributeKey('QuantloomModel', SearchAttributeType.KEYWORD);
const SCHEME = defineSearchAttributeKey('QuantloomScheme', SearchAttributeType.KEYWORD);
const STAGE = defineSearchAttributeKey('QuantloomStage', SearchAttributeType.KEYWORD);
const LAYERS_DONE = defineSearchAttributeKey('QuantloomLayersDone', SearchAttributeType.INT);
const NEEDS_REVIEW = defineSearchAttributeKey('QuantloomNeedsReview', SearchAttributeType.BOOL);
const PERPLEXITY_DELTA = defineSearchAttributeKey('QuantloomPerplexityDelta', SearchAttributeType.DOUBLE);

type Mutable<T> = { -readonly [K in keyof T]: T[K] };

/** A step that failed for good and waits for the operator. */
export type Review = NonNullable<Progress['needsReview']> & { decided: boolean };

/** What a job shows of itself: the answer of its Query, its search attributes, its page in Temporal's UI. */
export class JobBoard {
  /** What the operator has to look at, oldest first. */
  readonly reviews: Review[] = [];
  private readonly state: Mutable<Progress>;

  constructor(carried?: Progress) {
    this.state = carried ?? {
      phase: 'inspecting',
      paused: false,
      model: '',
      scheme: '',
      output: '',
      layers: [],
      layersDone: 0,
      computed: 0,
      cached: 0,
      secondsSaved: 0,
      etaSeconds: null,
      needsReview: null,
      perplexity: null,
      error: null,
    };
  }

  get progress(): Progress {
    return this.state;
  }

  inspected({ modelName, scheme, spec, blocks }: InspectedModel): void {
    Object.assign(this.state, { model: modelName, scheme, output: spec.output, layers: blocks.map(waiting) });
    upsertSearchAttributes([
      { key: MODEL, value: modelName },
      { key: SCHEME, value: scheme },
      { key: LAYERS_DONE, value: 0 },
      { key: NEEDS_REVIEW, value: false },
    ]);
  }

  entered(phase: JobPhase): void {
    this.state.phase = phase;
    // The pause that came during the last step holds nothing up any more.
    if (phase === 'done' || phase === 'cancelled') this.state.paused = false;
    upsertSearchAttributes([{ key: STAGE, value: phase }]);
    this.show();
  }

  counted({ cached, secondsSaved }: Pick<Effort, 'cached' | 'secondsSaved'>): void {
    this.countedMany({ computed: cached ? 0 : 1, cached: cached ? 1 : 0, secondsSaved });
  }

  countedMany({ computed, cached, secondsSaved }: Pick<LayerProgress, 'computed' | 'cached' | 'secondsSaved'>): void {
    this.state.computed += computed;
    this.state.cached += cached;
    this.state.secondsSaved += secondsSaved;
  }

  layerBegan(index: number): void {
    this.layer(index, { state: 'running' });
  }

  layerDone(index: number, result: LayerResult, skipped: boolean): void {
    const { relativeError, relativeErrorBeforeRefinement, computed, cached, secondsSaved, seconds } = result;
    const errors = { relativeError, relativeErrorBeforeRefinement };
    const state = skipped ? 'skipped' : 'done';
    this.layer(index, { state, stage: '', ...errors, computed, cached, secondsSaved, seconds });
    this.countedMany(result);
    this.state.layersDone += 1;
    this.state.etaSeconds = this.estimate();
    upsertSearchAttributes([{ key: LAYERS_DONE, value: this.state.layersDone }]);
    this.show();
  }

  /** A layer of the original model: its steps are counted already. */
  layerMeasured(index: number): void {
    this.layer(index, { state: 'done', stage: '' });
    this.state.layersDone += 1;
    upsertSearchAttributes([{ key: LAYERS_DONE, value: this.state.layersDone }]);
    this.show();
  }

  /** Shows that a step needs review, until the operator has decided. */
  async reviewed({ step, layer, error }: Omit<Review, 'decided'>): Promise<void> {
    const review: Review = { step, layer, error, decided: false };
    this.reviews.push(review);
    if (layer !== null) this.layer(layer, { state: 'needs-review' });
    this.showReviews();
    try {
      await condition(() => review.decided);
    } finally {
      this.reviews.splice(this.reviews.indexOf(review), 1);
      if (layer !== null) this.layer(layer, { state: 'waiting' });
      this.showReviews();
    }
  }

  /** The job was cancelled: what ran has ended. */
  cancelled(): void {
    for (const { index, state } of this.state.layers) if (state === 'running') this.layer(index, { state: 'waiting' });
    this.entered('cancelled');
  }

  failed(error: string): void {
    this.state.error = error;
    this.show();
  }

  paused(value: boolean): void {
    this.state.paused = value;
    this.show();
  }

  evaluated(perplexity: NonNullable<Progress['perplexity']>): void {
    this.state.perplexity = perplexity;
    const { original, quantized } = perplexity;
    if (original === null || quantized === null) return;
    upsertSearchAttributes([{ key: PERPLEXITY_DELTA, value: quantized - original }]);
  }

  private layer(index: number, change: Partial<LayerProgress>): void {
    this.state.layers = this.state.layers.map((layer) => (layer.index === index ? { ...layer, ...change } : layer));
  }

  private showReviews(): void {
    const [first] = this.reviews;
    this.state.needsReview = first ? { step: first.step, layer: first.layer, error: first.error } : null;
    upsertSearchAttributes([{ key: NEEDS_REVIEW, value: first !== undefined }]);
    this.show();
  }

  /** By the layers that had to be computed. */
  private estimate(): number | null {
    const timed = this.state.layers.filter(
      ({ state, computed }) => (state === 'done' || state === 'skipped') && computed > 0,
    );
    if (timed.length === 0) return null;
    const mean = timed.reduce((sum, { seconds }) => sum + seconds, 0) / timed.length;
    return mean * (this.state.layers.length - this.state.layersDone);
  }

  private show(): void {
    const { phase, paused, layers, layersDone, model, scheme, error } = this.state;
    const head = `**${model}** · ${scheme} · ${paused ? 'paused' : phase} · ${layersDone} of ${layers.length} layers`;
    const review = this.reviews.map(({ step, error }) => `> **Needs review:** ${step}: ${error}\n`);
    const failure = error === null ? [] : [`> **Failed:** ${error}\n`];
    const rows = layers
      .filter(({ state }) => state !== 'waiting')
      .map(({ name, state, relativeError, seconds }) => {
        const outputError = relativeError === null ? '' : relativeError.toExponential(2);
        return `| ${name} | ${state} | ${outputError} | ${seconds.toFixed(1)} |`;
      });
    const table =
      rows.length > 0 ? ['| layer | state | error | seconds |', '|---|---|---|---|', ...rows.slice(-100)] : [];
    setCurrentDetails([head, '', ...review, ...failure, ...table].join('\n'));
  }
}

function waiting({ index, name }: BlockOutline): LayerProgress {
  return {
    index,
    name,
    state: 'waiting',
    stage: '',
    relativeError: null,
    relativeErrorBeforeRefinement: null,
    seconds: 0,
    tokensPerSecond: null,
    computed: 0,
    cached: 0,
    secondsSaved: 0,
  };
}
