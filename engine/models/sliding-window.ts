import type { LayerAttention, ModelShape } from './architecture';
import { type Config, invalid, unsupported } from './config-fields';

type Known = Pick<ModelShape, 'layers' | 'rotary'>;

/** `sliding_window`. @returns null: there is none. @throws QuantloomError InvalidModel. */
export function slidingWindow(config: Config, otherwise: number | null): number | null {
  // A field that is missing has transformers' default; null turns it off.
  const window = config.sliding_window === undefined ? otherwise : config.sliding_window;
  if (window === null) return null;
  if (typeof window === 'number' && Number.isSafeInteger(window) && window > 0) return window;
  throw invalid('sliding_window', window, 'a positive integer, or null');
}

/**
 * Which layers have a window, by `layer_types`.
 *
 * @param otherwise where config.json does not say: whether the layer of this index has one.
 * @throws QuantloomError UnsupportedArchitecture for layers of another type, InvalidModel when there are not as many types as layers.
 */
export function slidingLayers(
  config: Config,
  layers: number,
  otherwise: (layer: number) => boolean,
  architecture: string,
): readonly boolean[] {
  const types = Array.isArray(config.layer_types) ? config.layer_types : null;
  if (types === null) return Array.from({ length: layers }, (_, layer) => otherwise(layer));
  const other = types.find((type) => type !== 'full_attention' && type !== 'sliding_attention');
  if (other !== undefined) {
    const found = `layers of the type ${JSON.stringify(other)} (config.json: layer_types)`;
    throw unsupported(found, 'full_attention, sliding_attention', architecture);
  }
  if (types.length < layers) throw invalid('layer_types', types, `a type for each of the ${layers} layers`);
  return types.slice(0, layers).map((type) => type === 'sliding_attention');
}

/** Every layer in the same window; null: none in any. */
export function windowEverywhere(window: number | null, { layers, rotary }: Known): readonly LayerAttention[] | null {
  return window === null ? null : Array.from({ length: layers }, () => ({ window, rotary }));
}

/**
 * The window of Qwen2 and Qwen3: off unless `use_sliding_window`, and then for the layers from `max_window_layers` (28) on, or for those
 * that `layer_types` names.
 */
export function qwenWindow(config: Config, { layers, rotary }: Known, architecture: string) {
  const first = (config.max_window_layers ?? 28) as number;
  const slides = slidingLayers(config, layers, (layer) => layer >= first, architecture);
  const window = config.use_sliding_window === true ? slidingWindow(config, 4096) : null;
  if (window === null || !slides.includes(true)) return null;
  return slides.map((slide): LayerAttention => ({ window: slide ? window : null, rotary }));
}
