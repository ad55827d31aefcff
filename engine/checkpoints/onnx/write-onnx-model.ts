import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { architectureOf } from '../../models';
import { describeFile, type OutputFile, writeText } from '../output-file';
import { decoderModel } from './decoder-model';
import { ExternalData } from './external-data';
import { genaiConfig } from './genai-config';
import { MODEL_DIRECTORY, type ModelFiles } from './model-files';
import type { OnnxSource } from './onnx-source';

export interface OnnxModelOptions {
  readonly source: OnnxSource;
  /** Exists; what is written goes here. */
  readonly directory: string;
  /** Its generation_config.json, if there is one, is asked how to generate. */
  readonly sourceDirectory: string;
  readonly files: ModelFiles;
  /** See OnnxExportOptions. Default 0. */
  readonly accuracyLevel?: number;
  /** See ExternalDataOptions. */
  readonly dataFileLimitBytes?: number;
  readonly signal?: AbortSignal;
}

/**
 * Writes the graph, its weights and genai_config.json. Memory: one weight.
 *
 * @returns what was written: the model first, then its data files in their order.
 * @throws QuantloomError as `decoderModel` does.
 */
export async function writeOnnxModel(options: OnnxModelOptions): Promise<OutputFile[]> {
  const { source, directory, sourceDirectory, files, accuracyLevel = 0, dataFileLimitBytes, signal } = options;
  await mkdir(join(directory, MODEL_DIRECTORY), { recursive: true });
  const data = new ExternalData({
    directory: join(directory, MODEL_DIRECTORY),
    name: files.data,
    ...(dataFileLimitBytes !== undefined && { fileLimitBytes: dataFileLimitBytes }),
  });
  let model: Uint8Array;
  try {
    model = await decoderModel({ source, data, accuracyLevel, ...(signal && { signal }) });
  } finally {
    await data.close();
  }
  await writeFile(join(directory, files.model), model);
  const shape = architectureOf(source.config, (tensor) => source.has(tensor)).shape(source.config);
  const generation = await readGeneration(sourceDirectory);
  const genai = genaiConfig({ config: source.config, generation, shape, modelFile: files.model });
  return [
    describeFile(files.model, model),
    ...data.files.map((file) => ({ ...file, name: `${MODEL_DIRECTORY}/${file.name}` })),
    await writeText(directory, 'genai_config.json', `${JSON.stringify(genai, null, 2)}\n`),
  ];
}

async function readGeneration(directory: string): Promise<Record<string, unknown>> {
  const text = await readFile(join(directory, 'generation_config.json'), 'utf8').catch((error: unknown) => {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return '{}';
    throw error;
  });
  return JSON.parse(text) as Record<string, unknown>;
}
