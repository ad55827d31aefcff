import { dirname, resolve } from 'node:path';
import prettyBytes from 'pretty-bytes';
import { fetchRemote, pinAddress, resolveModelDirectory, sourceOf } from '../engine/sources';
import type { Invocation } from './command';

/** MODEL of the command line as it is written into a spec: `demo` and addresses stay, a path becomes absolute. */
export function absoluteModel(model: string, workingDirectory: string): string {
  return model === 'demo' || /^[a-z][a-z0-9+.-]+:/i.test(model) ? model : resolve(workingDirectory, model);
}

/** A checkpoint to read, and the directory that its tokenizer is in: a directory, a GGUF file of one, or an address, which is fetched. */
export async function checkpointPath(
  model: string,
  { workingDirectory, settings, output, signal }: Invocation,
): Promise<{ readonly checkpoint: string; readonly directory: string }> {
  if (sourceOf(model)) {
    const address = await pinAddress(model, settings.sources, signal);
    let told = 0;
    const onProgress = ({ bytes, totalBytes }: { bytes: number; totalBytes: number }) => {
      if (Date.now() - told < 5_000) return;
      told = Date.now();
      output.note(`fetching ${address}: ${prettyBytes(bytes)} of ${prettyBytes(totalBytes)}`);
    };
    const directory = await fetchRemote(address, settings.sources, { signal, onProgress });
    return { checkpoint: directory, directory };
  }
  const checkpoint = resolveModelDirectory(absoluteModel(model, workingDirectory));
  return { checkpoint, directory: /\.gguf$/i.test(model) ? dirname(checkpoint) : checkpoint };
}
