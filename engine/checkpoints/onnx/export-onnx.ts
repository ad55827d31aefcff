import { copyFile, mkdir, rm } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { type Architecture, architectureOf } from '../../models';
import type { ModelShape } from '../../models/architecture';
import { openModelDirectory } from '../../sources/open-model-directory';
import type { CheckpointReader } from '../open-checkpoint';
import { writeText } from '../output-file';
import { publishDirectory } from '../publish-directory';
import { isModelFile, modelFiles, onnxModelConfig } from './model-files';
import { type StoredBits, storedBits } from './nbits-weight';
import { sourceOfCheckpoint } from './onnx-source';
import { writeOnnxModel } from './write-onnx-model';

export interface OnnxExportOptions {
  readonly from: CheckpointReader;
  /** The directory that is written. It appears when it is complete. */
  readonly to: string;
  /** Replace what stands there. Default false. */
  readonly overwrite?: boolean;
  /**
   * What onnxruntime may round the input of quantized linears to: 0, nothing; 1, float32; 2, float16; 3, bfloat16; 4, int8 per block, which is
   * faster on CPUs and less exact. Default 0.
   */
  readonly accuracyLevel?: 0 | 1 | 2 | 3 | 4;
  /** Largest size of a data file. Default: just below 2 GiB, which browsers can hold. */
  readonly dataFileLimitBytes?: number;
  readonly signal?: AbortSignal;
}

export interface OnnxExport {
  /** Path of the model. */
  readonly model: string;
  /** Paths of the files that hold the weights. */
  readonly data: readonly string[];
  /** `dtype` that transformers.js calls it by. */
  readonly dtype: string;
}

/**
 * Writes a checkpoint as a directory that onnxruntime, onnxruntime-genai and transformers.js load: `onnx/model_q4.onnx` with its weights beside it,
 * config.json, genai_config.json, and the tokenizer's files. Codes and scales are those of the checkpoint; what is not quantized keeps its element type.
 * Memory: one weight.
 *
 * @throws QuantloomError OutputExists, OutputUnwritable; UnsupportedArchitecture, UnsupportedInput, InvalidCheckpoint as `decoderModel`
 * does. Then nothing is written.
 */
export async function exportOnnx(options: OnnxExportOptions): Promise<OnnxExport> {
  const { from, to, overwrite = false, accuracyLevel = 0, dataFileLimitBytes, signal } = options;
  const architecture = architectureOf(from.config, (tensor) => from.has(tensor));
  const shape = architecture.shape(from.config);
  const files = modelFiles(smallestWidth(from, architecture, shape));
  const output = resolve(to);
  const staging = join(dirname(output), `.${basename(output)}.quantloom-onnx-${process.pid}`);
  try {
    const written = await writeOnnxModel({
      source: sourceOfCheckpoint(from),
      directory: staging,
      sourceDirectory: from.directory,
      files,
      accuracyLevel,
      ...(dataFileLimitBytes !== undefined && { dataFileLimitBytes }),
      ...(signal && { signal }),
    });
    const { companions } = await openModelDirectory(from.directory);
    for (const name of companions) {
      await mkdir(dirname(join(staging, name)), { recursive: true });
      await copyFile(join(from.directory, name), join(staging, name));
    }
    const { quantization_config: _, ...config } = from.config;
    const data = written.map(({ name }) => name).filter((name) => isModelFile(name) && name !== files.model);
    await writeText(
      staging,
      'config.json',
      `${JSON.stringify(onnxModelConfig(config, files, data.length), null, 2)}\n`,
    );
    await publishDirectory(staging, output, overwrite);
    return { model: join(output, files.model), data: data.map((name) => join(output, name)), dtype: files.dtype };
  } finally {
    await rm(staging, { recursive: true, force: true });
  }
}

/** By what is said of the linears: names have to be known before weights are read. null: all of them are written in floats. */
function smallestWidth(from: CheckpointReader, architecture: Architecture, shape: ModelShape): StoredBits | null {
  const stored = from.linears?.storage.grids.includes('affine') ? from.linears : null;
  const linears = architecture
    .blocks(shape, (tensor) => from.has(tensor))
    .flatMap(({ stages }) => stages.flatMap(({ captures }) => captures));
  const widths = linears.flatMap(({ name }) => {
    const settings = stored?.settingsOf(name);
    return settings ? [storedBits(settings.bits)] : [];
  });
  return widths.length === 0 ? null : (Math.min(...widths) as StoredBits);
}
