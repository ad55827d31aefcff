import type { LayerProgress, Progress } from '../engine/spec';
import type { Review } from './job-board';
import { layerOf, OrderChecks } from './order-checks';

const STATES: LayerProgress['state'][] = ['done', 'running', 'needs-review', 'waiting'];

function checksOf({ reviews = [], layers = STATES, paused = false }: Partial<Situation> = {}): OrderChecks {
  const progress = { paused, layers: layers.map((state, index) => ({ index, state })) } as unknown as Progress;
  return new OrderChecks({ progress, reviews: reviews.map((review) => ({ error: '', decided: false, ...review })) });
}

interface Situation {
  readonly reviews: readonly Pick<Review, 'step' | 'layer'>[];
  readonly layers: readonly LayerProgress['state'][];
  readonly paused: boolean;
}

const LAYER_2 = { step: 'model.layers.2', layer: 2 };
const LAYER_5 = { step: 'model.layers.5', layer: 5 };
const FETCHING = { step: 'fetching', layer: null };

describe('what the operator may order', () => {
  it('pauses what runs and resumes what is paused', () => {
    expect(() => checksOf().pause()).not.toThrow();
    expect(() => checksOf().resume()).toThrow('The job is not paused.');
    expect(() => checksOf({ paused: true }).resume()).not.toThrow();
    expect(() => checksOf({ paused: true }).pause()).toThrow('The job is paused already.');
  });

  it('cancels once', () => {
    expect(() => checksOf().cancel(false)).not.toThrow();
    expect(() => checksOf().cancel(true)).toThrow('being cancelled already');
  });

  it.each([
    ['nothing needs review', undefined, [], /nothing to try again/],
    ['another layer needs review', { layer: 3 }, [LAYER_2, LAYER_5], /Layer 3 .* model\.layers\.2, model\.layers\.5\./],
  ])('refuses to retry when %s', (_, choice, reviews, message) => {
    expect(() => checksOf({ reviews }).retry(choice)).toThrow(message);
  });

  it.each([
    ['what needs review', undefined, [FETCHING]],
    ['one of several layers', { layer: 5 }, [LAYER_2, LAYER_5]],
    ['all of them', {}, [LAYER_2, LAYER_5]],
  ])('retries %s', (_, choice, reviews) => {
    expect(() => checksOf({ reviews }).retry(choice)).not.toThrow();
  });

  it.each([
    ['a layer that is done', { layer: 0 }, [], /Layer 0 is done/],
    ['a layer that is running', { layer: 1 }, [], /Layer 1 is running/],
    ['a layer that is not there', { layer: 4 }, [], /no layer 4; the job has 4/],
    ['no layer, when none needs review', undefined, [], /No layer needs review/],
    ['no layer, when several need review', undefined, [LAYER_2, LAYER_5], /Several steps/],
    ['a step that is not a layer', undefined, [FETCHING], /fetching, is not a layer/],
  ])('refuses to skip %s', (_, choice, reviews, message) => {
    expect(() => checksOf({ reviews }).skip(choice)).toThrow(message);
  });

  it('refuses to skip a layer before there are any', () => {
    expect(() => checksOf({ layers: [] }).skip({ layer: 0 })).toThrow('not known yet');
  });

  it('skips a layer that waits, and one that needs review', () => {
    expect(() => checksOf().skip({ layer: 3 })).not.toThrow();
    expect(() => checksOf({ reviews: [LAYER_2] }).skip(undefined)).not.toThrow();
  });

  it.each([[{ layers: 0 }], [{ layers: 201 }], [{ layers: 2.5 }], [{ layers: '2' }], [{}], [undefined], [null], [7]])(
    'refuses the concurrency %j',
    (wish) => {
      expect(() => checksOf().concurrency(wish, 8)).toThrow('whole number from 1 to 200');
    },
  );

  it('refuses a concurrency where layers follow each other', () => {
    expect(() => checksOf().concurrency({ layers: 2 }, 8)).not.toThrow();
    expect(() => checksOf().concurrency({ layers: 2 }, null)).toThrow('not solved side by side');
  });
});

describe('the argument that names a layer', () => {
  it.each([
    [undefined, undefined],
    [null, undefined],
    [{}, undefined],
    [{ layer: null }, undefined],
    [{ layer: 0 }, 0],
    [{ layer: 12 }, 12],
  ])('reads %j', (choice, layer) => {
    expect(layerOf(choice)).toBe(layer);
  });

  it.each([[3], ['3'], [{ layer: '3' }], [{ layer: 1.5 }], [{ Layer: 3 }], [[3]], [true]])('refuses %j', (choice) => {
    expect(() => layerOf(choice)).toThrow('it must be {"layer": 3}');
  });
});
