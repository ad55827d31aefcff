import type { LayerProgress, Progress } from '../engine/spec';
import { duration, percentage, rate } from './quantities';

const MARKS: Readonly<Record<LayerProgress['state'], string>> = {
  waiting: '·',
  running: '▸',
  done: '✓',
  skipped: '–',
  'needs-review': '!',
};
const BAR_WIDTH = 24;

/** The block that is redrawn while a job runs: a headline, and a window of `rows` layers around the one in work. */
export function progressBlock(progress: Progress, rows = 12): string[] {
  const { layers } = progress;
  const firstOpen = layers.findIndex((layer) => layer.state === 'running' || layer.state === 'waiting');
  const center = firstOpen === -1 ? layers.length : firstOpen;
  const start = Math.max(0, Math.min(center - Math.floor(rows / 2), layers.length - rows));
  const width = Math.max(0, ...layers.map(({ name }) => name.length));
  const shown = layers.slice(start, start + rows).map((layer) => `  ${layerLine(layer, width)}`);
  return [headline(progress), ...shown];
}

/** One line per thing that happened between two looks at the job, for logs. */
export function progressEvents(before: Progress | null, now: Progress): string[] {
  const events: string[] = [];
  if (now.paused && !before?.paused) events.push('paused');
  if (before?.paused && !now.paused) events.push('resumed');
  for (const [position, layer] of now.layers.entries()) {
    const earlier = before?.layers[position];
    const ended = layer.state === 'done' || layer.state === 'skipped' || layer.state === 'needs-review';
    const changed = earlier?.state !== layer.state;
    if (ended && changed) events.push(`${layerLine(layer)}${eta(now)}`);
    else if (layer.state === 'running' && layer.stage !== '' && (changed || earlier?.stage !== layer.stage)) {
      events.push(`${layerLine(layer)}${eta(now)}`);
    }
  }
  if (before?.phase !== now.phase && now.phase !== 'quantizing') events.push(now.phase);
  return events;
}

/** `✓ model.layers.0  done  error 0.08 %  12.1k tok/s  3.2 s  5 cached`. */
export function layerLine(layer: LayerProgress, width = 0): string {
  const parts = [
    `${MARKS[layer.state]} ${layer.name.padEnd(width)}`,
    layer.state === 'running' ? layer.stage || 'running' : layer.state,
  ];
  if (layer.relativeError !== null) {
    const before = layer.relativeErrorBeforeRefinement;
    const refined = before !== null && before !== layer.relativeError;
    parts.push(`error ${percentage(layer.relativeError)}${refined ? ` (unrefined ${percentage(before)})` : ''}`);
  }
  if (layer.tokensPerSecond !== null) parts.push(rate(layer.tokensPerSecond));
  if (layer.state !== 'waiting' && layer.seconds > 0) parts.push(duration(layer.seconds));
  if (layer.cached > 0) parts.push(`${layer.cached} cached`);
  return parts.join('  ');
}

function headline(progress: Progress): string {
  const { layers, layersDone, phase, cached, computed } = progress;
  const share = layers.length === 0 ? 0 : layersDone / layers.length;
  const filled = Math.round(share * BAR_WIDTH);
  const parts = [
    `${'█'.repeat(filled)}${'░'.repeat(BAR_WIDTH - filled)}`,
    progress.paused ? `${phase} (paused)` : phase,
    `${layersDone}/${layers.length} layers`,
  ];
  if (computed + cached > 0) parts.push(`${computed} computed, ${cached} cached`);
  return `${parts.join('  ')}${eta(progress)}`;
}

function eta(progress: Progress): string {
  return progress.etaSeconds === null || progress.phase === 'done' ? '' : `  ETA ${duration(progress.etaSeconds)}`;
}
