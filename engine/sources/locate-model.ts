import { containerAt, openCheckpoint, safetensorsContainer } from '../checkpoints';
import { type ModelOrigin, QuantloomError } from '../spec';
import { denseDirectory, makeDenseCopy, previewDense } from './dense/dense-copy';
import { sourceOf } from './remote/model-sources';
import {
  bytesToFetch,
  type FetchOptions,
  fetchRemote,
  pinAddress,
  previewRemote,
  remoteDirectory,
} from './remote/remote-model';
import type { SourceAccess } from './remote/source-access';
import { resolveModelDirectory } from './resolve-model-directory';

/** A model that can be planned with. */
export interface LocatedModel {
  /** Where it lies, or will when it has been obtained. */
  readonly directory: string;
  /** What a plan reads: the same, or what looks like it and holds no weights. */
  readonly preview: string;
  /** null: it lies there. */
  readonly origin: ModelOrigin | null;
  /** The quantized checkpoint that it is made of, or what looks like it and holds no weights; null: it is made of none. */
  readonly quantized: string | null;
  /** Bytes that are to be fetched. */
  readonly bytesToFetch: number;
}

export interface LocateOptions extends FetchOptions {
  /** Take checkpoints that are quantized. */
  readonly dequantize?: boolean;
}

/**
 * Finds what a MODEL is. Reads headers only; of models elsewhere it fetches these, and what is small. Where headers do not say enough of a
 * quantized model elsewhere, all of it is fetched first.
 *
 * @param access null: models elsewhere, and models that have to be dequantized, are refused.
 * @throws QuantloomError.
 */
export async function locateModel(
  model: string,
  access: SourceAccess | null,
  options: LocateOptions = {},
): Promise<LocatedModel> {
  const place = sourceOf(model);
  if (place === null) {
    const path = resolveModelDirectory(model);
    if (!(await isToBeMade(path, options))) {
      return { directory: path, preview: path, origin: null, quantized: null, bytesToFetch: 0 };
    }
    const { models } = withAccess(model, access);
    const directory = await denseDirectory(path, models);
    const origin = { dequantized: path };
    return { directory, preview: await previewDense(path, directory), origin, quantized: path, bytesToFetch: 0 };
  }
  const known = withAccess(model, access);
  const address = await pinAddress(model, known, options.signal);
  const fetched = remoteDirectory(address, known);
  const preview = await previewRemote(address, known, options);
  if (!(await isToBeMade(preview, options))) {
    const bytes = await bytesToFetch(address, known, options);
    return { directory: fetched, preview, origin: { address }, quantized: null, bytesToFetch: bytes };
  }
  const directory = await denseDirectory(fetched, known.models, address);
  const origin = { address, dequantized: fetched };
  const guessed = await previewDense(preview, directory).catch((error) => {
    if (QuantloomError.is(error) && preview !== fetched) return null;
    throw error;
  });
  const seen = guessed ?? (await previewDense(await fetchRemote(address, known, options), directory));
  const quantized = guessed ? preview : fetched;
  return { directory, preview: seen, origin, quantized, bytesToFetch: await bytesToFetch(address, known, options) };
}

/** Makes the directory of a located model: fetches it, dequantizes it, goes on with what an earlier attempt left. @throws QuantloomError. */
export async function obtainModel(
  { directory, origin }: { readonly directory: string; readonly origin: ModelOrigin },
  access: SourceAccess,
  options: FetchOptions = {},
): Promise<void> {
  const { address, dequantized } = origin;
  if (address !== undefined) await fetchRemote(address, access, options);
  if (dequantized === undefined) return;
  if (address === undefined && (await denseDirectory(dequantized, access.models)) !== directory) {
    throw new QuantloomError(
      'SourceChanged',
      `${dequantized} has changed since it was inspected. Start the job again.`,
    );
  }
  await makeDenseCopy(dequantized, directory, options);
}

/** Whether plain weights in safetensors have to be made of it. @throws QuantloomError UnsupportedInput when that was not asked for. */
async function isToBeMade(path: string, { dequantize = false }: LocateOptions): Promise<boolean> {
  const container = await containerAt(path);
  const inSafetensors = container === safetensorsContainer;
  if (inSafetensors && !dequantize) return false;
  const reader = await openCheckpoint(path);
  if (reader.linears === null) return !inSafetensors;
  const quantized = reader.names().filter((name) => reader.quantized(name));
  if (dequantize || quantized.length === 0) return true;
  const kinds = new Set(quantized.map((name) => reader.linears?.settingsOf(name.replace(/\.weight$/, ''))?.layout));
  throw new QuantloomError(
    'UnsupportedInput',
    `${path} is quantized already (${[...kinds].sort().join(', ')}): what is made of it has the errors of both. Start from the ` +
      'original, or quantize what its weights have become with --dequantize.',
  );
}

function withAccess(model: string, access: SourceAccess | null): SourceAccess {
  if (access !== null) return access;
  throw new QuantloomError('WrongUse', `${model} takes a directory that models are kept in, and none was given.`);
}
