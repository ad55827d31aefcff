import type { SequenceLimit } from './architecture';
import { type Config, invalid, unsupported } from './config-fields';

/** Up to so many tokens a sliding window is all of causal attention. @param window null: there is none. */
export function slidingWindow(window: unknown): SequenceLimit | null {
  if (window === null) return null;
  if (typeof window === 'number' && Number.isSafeInteger(window) && window > 0) {
    return { tokens: window, field: 'sliding_window' };
  }
  throw invalid('sliding_window', window, 'a positive integer, or null');
}

/**
 * The window of Qwen2 and Qwen3: off unless `use_sliding_window`, and then for the layers from `max_window_layers` (28) on, or for those
 * that `layer_types` names.
 */
export function qwenWindow(config: Config, { layers }: { readonly layers: number }, architecture: string) {
  const types = Array.isArray(config.layer_types) ? config.layer_types : null;
  const other = types?.find((type) => type !== 'full_attention' && type !== 'sliding_attention');
  if (other !== undefined) {
    const found = `layers of the type ${JSON.stringify(other)} (config.json: layer_types)`;
    throw unsupported(found, 'full_attention, sliding_attention', architecture);
  }
  if (config.use_sliding_window !== true) return null;
  const first = config.max_window_layers ?? 28;
  const slides = types ? types.includes('sliding_attention') : layers > (first as number);
  return slides ? slidingWindow(config.sliding_window === undefined ? 4096 : config.sliding_window) : null;
}
