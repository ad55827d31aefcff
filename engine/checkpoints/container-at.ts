import { basename } from 'node:path';
import { filesOf } from './files-of';
import { CHECKPOINT_FORMATS } from './formats';
import { safetensorsContainer } from './safetensors-container';
import type { WeightContainer } from './weight-container';

/** What the weights at this path, a directory or a weight file, are read with. Safetensors where there is nothing to be seen. */
export async function containerAt(path: string): Promise<WeightContainer> {
  const names = [basename(path), ...(await filesOf(path).catch(() => []))];
  const others = Object.values(CHECKPOINT_FORMATS).map(({ container }) => container);
  return (
    [safetensorsContainer, ...others].find((container) => names.some((name) => container.holdsWeights(name))) ??
    safetensorsContainer
  );
}
