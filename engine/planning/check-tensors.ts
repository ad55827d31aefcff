import type { Architecture, Block, ModelShape } from '../models/architecture';
import type { SourceTensor } from '../spec';
import { type Findings, listed } from './findings';

type Tensors = Readonly<Record<string, SourceTensor>>;

/** Tensors that only a quantized checkpoint has: GPTQ and AWQ, compressed-tensors, bitsandbytes, FP8. */
const QUANTIZED = /\.(qweight|weight_packed|weight_scale|weight_scale_inv|quant_map|SCB)$|\.weight\.quant_state\./;

/** Written by old versions of transformers, computed anew by everyone. */
const HARMLESS = /\.rotary_emb\.inv_freq$/;

/** Whether the model is quantized already, by its config or its tensors; refused then. */
export function refuseQuantizedInput(
  config: Readonly<Record<string, unknown>>,
  tensors: Tensors,
  findings: Findings,
): boolean {
  const declared = config.quantization_config ?? config.compression_config;
  const found = Object.keys(tensors).filter((name) => QUANTIZED.test(name));
  if (!declared && found.length === 0) return false;
  const method = (declared as { quant_method?: unknown } | undefined)?.quant_method;
  const evidence = declared
    ? `config.json has a quantization_config (${typeof method === 'string' ? method : 'no quant_method'})`
    : `it has the tensors ${listed(found)}`;
  findings.refuse(
    'UnsupportedInput',
    'model',
    `The model is quantized already: ${evidence}. Start from the 16-bit original, or quantize what its weights have become with --dequantize.`,
  );
  return true;
}

/** Checks that every tensor the forward pass needs is there, with the shape that config.json implies and a dtype to compute from. */
export function checkTensors(
  {
    architecture,
    shape,
    blocks,
    tensors,
  }: { architecture: Architecture; shape: ModelShape; blocks: readonly Block[]; tensors: Tensors },
  findings: Findings,
): void {
  const { head, dtypes, buffers } = architecture;
  const expected = new Map<string, readonly number[]>(blocks.flatMap((block) => [...block.tensors]));
  for (const [name, size] of architecture.outside(shape)) expected.set(name, size);
  if (!shape.tiedHead) expected.set(head, [shape.vocabularySize, shape.hiddenSize]);

  const missing = [...expected.keys()].filter((name) => tensors[name] === undefined);
  if (missing.length > 0) {
    findings.refuse(
      'InvalidModel',
      'model',
      `${listed(missing, 5)} ${missing.length === 1 ? 'is' : 'are'} missing in the weight files. Is the download complete, and config.json of this model?`,
    );
  }
  for (const [name, size] of expected) {
    const tensor = tensors[name];
    if (tensor === undefined) continue;
    if (tensor.shape.join() !== size.join()) {
      findings.refuse(
        'InvalidModel',
        name,
        `Its shape is [${tensor.shape.join(', ')}]; config.json implies [${size.join(', ')}]. Config and weights do not belong together.`,
      );
    }
    if (!dtypes.includes(tensor.dtype)) {
      findings.refuse(
        'UnsupportedInput',
        name,
        `Its dtype is ${tensor.dtype}; supported: ${dtypes.join(', ')}. Start from the 16-bit original.`,
      );
    }
  }

  const unknown = Object.keys(tensors).filter(
    (name) => !expected.has(name) && !HARMLESS.test(name) && !buffers?.test(name) && name !== head,
  );
  if (unknown.length > 0) {
    findings.warn(
      `${listed(unknown)}: not part of the architecture ${architecture.name}, copied as ${unknown.length === 1 ? 'it is' : 'they are'}.`,
    );
  }
}
