import type { CalibratedSlice, Effort } from '../activities';
import type { ArtifactRef } from '../engine/spec';
import { LayerLedger } from './layer-ledger';

const BLOCK = {
  index: 3,
  name: 'model.layers.3',
  stages: [
    { name: 'attention-input', linears: 3, calibrated: true },
    { name: 'attention', linears: 1, calibrated: true },
  ],
};

const artifact = (sha256: string): ArtifactRef => ({ kind: 'activation', sha256, bytes: 4 });
const slice = (name: string, changes: Partial<CalibratedSlice> = {}): CalibratedSlice => ({
  activations: { hidden: artifact(`${name}-hidden`) },
  gram: artifact(`${name}-gram`),
  tokens: 100,
  nonFiniteSequences: 0,
  cached: false,
  seconds: 2,
  secondsSaved: 0,
  ...changes,
});
const computed = (seconds: number): Effort => ({ cached: false, seconds, secondsSaved: 0 });

describe('LayerLedger', () => {
  let ledger: LayerLedger;

  beforeEach(() => {
    jest.useFakeTimers({ now: 1_000_000 });
    ledger = new LayerLedger(BLOCK);
  });

  afterEach(() => jest.useRealTimers());

  it('counts the original, as no tokens of the layer', () => {
    ledger.passedOriginal([computed(2), { cached: true, seconds: 0, secondsSaved: 3 }]);
    expect(ledger.history(false)).toMatchObject({ computed: 1, cached: 1, seconds: { 'pass-original': 2 } });
    expect(ledger.progress().tokensPerSecond).toBeNull();
  });

  it('counts what was computed and what came from the store, with the seconds of each activity', () => {
    ledger.calibrated([slice('a'), slice('b', { cached: true, seconds: 0, secondsSaved: 1.5 })]);
    const merged = { hessian: artifact('sum'), tokens: 200, ...computed(1) };
    ledger.quantized({
      linears: {},
      reports: artifact('report'),
      relativeError: 0.25,
      relativeErrorBeforeRefinement: 0.5,
      merged,
      ...computed(5),
    });
    expect(ledger.history(false)).toEqual({
      calibrationTokens: 200,
      nonFiniteSequences: 0,
      seconds: { 'calibrate-slice': 2, 'merge-hessian': 1, 'quantize-linears': 5 },
      computed: 3,
      cached: 1,
      skipped: false,
    });
    expect(ledger.reports).toEqual([artifact('report')]);
    expect(ledger.totals().secondsSaved).toBe(1.5);
  });

  it('averages the errors of the stages that have one', () => {
    const linears = { linears: {}, reports: artifact('report'), merged: null, ...computed(0) };
    expect(ledger.totals().relativeError).toBeNull();
    ledger.quantized({ ...linears, relativeError: 0.1, relativeErrorBeforeRefinement: 0.3 });
    ledger.quantized({ ...linears, relativeError: null, relativeErrorBeforeRefinement: null });
    ledger.quantized({ ...linears, relativeError: 0.3, relativeErrorBeforeRefinement: 0.5 });
    expect(ledger.totals().relativeError).toBeCloseTo(0.2, 12);
    expect(ledger.totals().relativeErrorBeforeRefinement).toBeCloseTo(0.4, 12);
  });

  it('drops activations and partial Hessians that nobody reads any more', () => {
    ledger.calibrated([
      slice('a', { mismatch: { sum: artifact('a-sum'), gram: artifact('a-sum-gram'), tokens: [25, 25] } }),
      slice('b', { gram: null }),
    ]);
    expect(ledger.intermediates([{ hidden: artifact('b-hidden') }])).toEqual([
      'a-hidden',
      'a-gram',
      'a-sum',
      'a-sum-gram',
    ]);
  });

  it('counts sequences that are not finite once, not once per stage', () => {
    ledger.calibrated([slice('a', { nonFiniteSequences: 1 }), slice('b', { nonFiniteSequences: 2 })]);
    ledger.calibrated([slice('c', { nonFiniteSequences: 1 }), slice('d', { nonFiniteSequences: 1 })]);
    expect(ledger.history(true)).toMatchObject({ nonFiniteSequences: 3, skipped: true });
  });

  it('tells the stage in work and the speed: a token is done when it went through every stage', () => {
    expect(ledger.begin('attention-input')).toBe('**model.layers.3**\n- attention-input: running');
    ledger.calibrated([slice('a'), slice('b'), slice('c', { cached: true })]);
    expect(ledger.begin('attention')).toBe('**model.layers.3**\n- attention-input: done\n- attention: running');
    jest.advanceTimersByTime(4_000);
    expect(ledger.progress()).toEqual({
      index: 3,
      name: 'model.layers.3',
      state: 'running',
      stage: 'attention',
      relativeError: null,
      relativeErrorBeforeRefinement: null,
      seconds: 4,
      // 200 tokens computed in one of two stages, in 4 seconds.
      tokensPerSecond: 25,
      computed: 2,
      cached: 1,
      secondsSaved: 0,
    });
  });
});
