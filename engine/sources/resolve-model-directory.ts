import { join, resolve } from 'node:path';
import { QuantloomError } from '../spec';
import { packageRoot } from './package-root';

/** Two letters at least, so that a Windows drive is a path. */
const SCHEME = /^[a-z][a-z0-9+.-]+:/i;

/**
 * The absolute directory that a MODEL argument names: `demo` is the model that ships with Quantloom, anything else a path.
 * Nothing is looked up on disk.
 *
 * @throws QuantloomError UnsupportedInput for `hf:`, `s3://` and other addresses, and for GGUF files.
 */
export function resolveModelDirectory(model: string): string {
  if (model === 'demo') return join(packageRoot(), 'assets', 'demo-model');
  const scheme = SCHEME.exec(model)?.[0];
  if (scheme !== undefined) {
    throw new QuantloomError(
      'UnsupportedInput',
      `${JSON.stringify(model)}: models at ${scheme} addresses are not supported yet. Download the model and give its directory.`,
    );
  }
  if (/\.gguf$/i.test(model)) {
    throw new QuantloomError(
      'UnsupportedInput',
      `${JSON.stringify(model)}: GGUF files are not supported yet as input. Give the directory of the model's safetensors.`,
    );
  }
  return resolve(model);
}
