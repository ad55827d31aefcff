import { join, resolve } from 'node:path';
import { QuantloomError } from '../spec';
import { packageRoot } from './package-root';
import { SOURCE_SCHEMES } from './remote/model-sources';

/** Two letters at least, so that a Windows drive is a path. */
const SCHEME = /^[a-z][a-z0-9+.-]+:/i;

/**
 * The absolute path that a MODEL argument names, of a directory or a file: `demo` is the model that ships with Quantloom, anything else a
 * path. Nothing is looked up on disk.
 *
 * @throws QuantloomError UnsupportedInput for addresses: a directory is made of these by `locateModel`, where they are known.
 */
export function resolveModelDirectory(model: string): string {
  if (model === 'demo') return join(packageRoot(), 'assets', 'demo-model');
  const scheme = SCHEME.exec(model)?.[0];
  if (scheme !== undefined) {
    throw new QuantloomError(
      'UnsupportedInput',
      `${JSON.stringify(model)}: models at ${scheme} addresses cannot be read here; addresses that models are quantized from begin with ` +
        `${SOURCE_SCHEMES.join(', ')}. Download the model and give its directory.`,
    );
  }
  return resolve(model);
}
