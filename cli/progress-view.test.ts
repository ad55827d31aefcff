import type { LayerProgress, Progress } from '../engine/spec';
import { layerLine, progressBlock, progressEvents } from './progress-view';

const waiting: LayerProgress = {
  index: 0,
  name: 'model.layers.0',
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
const done: LayerProgress = {
  ...waiting,
  state: 'done',
  relativeError: 0.0012,
  tokensPerSecond: 12_345,
  seconds: 3.24,
  cached: 5,
};

function progressOf(layers: readonly LayerProgress[], rest: Partial<Progress> = {}): Progress {
  return {
    phase: 'quantizing',
    paused: false,
    model: 'm',
    scheme: 's',
    output: '/out',
    layers,
    layersDone: layers.filter(({ state }) => state === 'done').length,
    computed: 0,
    cached: 0,
    secondsSaved: 0,
    etaSeconds: null,
    needsReview: null,
    perplexity: null,
    error: null,
    ...rest,
  };
}

describe('the progress of a job', () => {
  it('says of a layer its stage or end, error, speed, time and cache hits', () => {
    expect(layerLine({ ...done, relativeErrorBeforeRefinement: 0.0034 })).toContain('error 0.12 % (unrefined 0.34 %)');
    expect(layerLine({ ...done, relativeErrorBeforeRefinement: 0.0012 })).toBe(layerLine(done));
    expect(layerLine(done)).toBe('✓ model.layers.0  done  error 0.12 %  12.3k tok/s  3.2 s  5 cached');
    expect(layerLine({ ...waiting, state: 'running', stage: 'attention' })).toBe('▸ model.layers.0  attention');
  });

  it('shows a headline, and of many layers those around the one in work', () => {
    const layers = Array.from({ length: 80 }, (_, index) => ({
      ...(index < 40 ? done : waiting),
      index,
      name: `model.layers.${index}`,
    }));
    const block = progressBlock(progressOf(layers, { etaSeconds: 754, computed: 9, cached: 1 }), 10);
    expect(block).toHaveLength(11);
    expect(block[0]).toContain('40/80 layers  9 computed, 1 cached  ETA 12 min 34 s');
    expect(block[1]).toContain('model.layers.35');
    expect(block[10]).toContain('model.layers.44');
  });

  it('makes one line per event, and none when nothing happened', () => {
    const before = progressOf([waiting], { phase: 'fetching' });
    const running = progressOf([{ ...waiting, state: 'running', stage: 'mlp' }]);
    const after = progressOf([done], { phase: 'assembling' });
    expect(progressEvents(null, before)).toEqual(['fetching']);
    expect(progressEvents(before, before)).toEqual([]);
    expect(progressEvents(before, running)).toEqual(['▸ model.layers.0  mlp']);
    expect(progressEvents(running, after)).toEqual([layerLine(done), 'assembling']);
    expect(progressEvents(running, { ...running, paused: true })).toEqual(['paused']);
  });
});
