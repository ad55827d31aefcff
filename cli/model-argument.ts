import { dirname, resolve } from 'node:path';
import { resolveModelDirectory } from '../engine/sources';

/** MODEL of the command line as it is written into a spec: `demo` and addresses stay, a path becomes absolute. */
export function absoluteModel(model: string, workingDirectory: string): string {
  return model === 'demo' || /^[a-z][a-z0-9+.-]+:/i.test(model) ? model : resolve(workingDirectory, model);
}

/** The directory of MODEL. @throws QuantloomError UnsupportedInput for addresses. */
export function modelDirectory(model: string, workingDirectory: string): string {
  return resolveModelDirectory(absoluteModel(model, workingDirectory));
}

/** A checkpoint to read, and the directory that its tokenizer is in: a directory, or a GGUF file of one. */
export function checkpointPath(
  model: string,
  workingDirectory: string,
): { readonly checkpoint: string; readonly directory: string } {
  if (/\.gguf$/i.test(model)) {
    const checkpoint = resolve(workingDirectory, model);
    return { checkpoint, directory: dirname(checkpoint) };
  }
  const directory = modelDirectory(model, workingDirectory);
  return { checkpoint: directory, directory };
}
