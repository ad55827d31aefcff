import { resolve } from 'node:path';
import { resolveModelDirectory } from '../engine/sources';

/** MODEL of the command line as it is written into a spec: `demo` and addresses stay, a path becomes absolute. */
export function absoluteModel(model: string, workingDirectory: string): string {
  return model === 'demo' || /^[a-z][a-z0-9+.-]+:/i.test(model) ? model : resolve(workingDirectory, model);
}

/** The directory of MODEL. @throws QuantloomError UnsupportedInput for addresses. */
export function modelDirectory(model: string, workingDirectory: string): string {
  return resolveModelDirectory(absoluteModel(model, workingDirectory));
}
