import type { ArtifactStore } from '../../engine/store';
import type { WorkerMetrics } from './worker-metrics';

/** The same store; what passes is counted. */
export function countedStore(store: ArtifactStore, metrics: WorkerMetrics): ArtifactStore {
  const counted = async <T>(direction: 'in' | 'out', work: Promise<T>, bytesOf: (result: T) => number): Promise<T> => {
    const began = performance.now();
    const result = await work;
    metrics.moved(direction, bytesOf(result), (performance.now() - began) / 1000);
    return result;
  };
  const changed: Partial<ArtifactStore> = {
    put: (content, options) => counted('out', store.put(content, options), () => content.byteLength),
    get: (sha256) => counted('in', store.get(sha256), ({ byteLength }) => byteLength),
    open: async (sha256) => {
      const reader = await store.open(sha256);
      return withMethods(reader, {
        read: (target) => counted('in', reader.read(target), () => target.byteLength),
      });
    },
    create: async (options) => {
      const writer = await store.create(options);
      return withMethods(writer, {
        write: (content) => counted('out', writer.write(content), () => content.byteLength),
      });
    },
  };
  return withMethods(store, changed);
}

/** The same object with some methods in front of its own, which keep their `this`. */
function withMethods<T extends object>(object: T, methods: Partial<T>): T {
  return new Proxy(object, {
    get(target, name) {
      const own = Reflect.get(methods, name) as unknown;
      if (own !== undefined) return own;
      const value = Reflect.get(target, name) as unknown;
      return typeof value === 'function' ? value.bind(target) : value;
    },
  });
}
