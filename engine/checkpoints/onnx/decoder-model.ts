import { GraphBuilder } from '../../graphs/graph-builder';
import { rotaryPairs, rotaryTable } from '../../graphs/rotary-table';
import { stageBody } from '../../graphs/stage-bodies';
import { softCapped } from '../../graphs/windowed-attention';
import { architectureOf } from '../../models';
import type { Block, LinearShape, ModelShape, RotaryScaling } from '../../models/architecture';
import { QuantloomError } from '../../spec';
import type { ExternalData } from './external-data';
import { ModelWeights } from './model-weights';
import { type AttentionInputs, OnnxOperators } from './onnx-operators';
import type { OnnxSource } from './onnx-source';

/** What onnxruntime has run since 1.18; nothing newer is needed. */
const OPSET = 21;
const IR_VERSION = 10;

const ROTARY_HEAD_STEP = 16;

/** Whether no tensor of the source stands behind a constant of this name. */
export function isRotaryCache(name: string): boolean {
  return /^(cos|sin)_cache(_\d+)?$/.test(name);
}

export interface DecoderModelOptions {
  readonly source: OnnxSource;
  /** Takes the weights. */
  readonly data: ExternalData;
  /** See OnnxExportOptions. */
  readonly accuracyLevel: number;
  readonly signal?: AbortSignal;
}

/**
 * A whole decoder as one ONNX model with a key-value cache; weights go to `data` one at a time.
 *
 * Inputs: `input_ids`, `attention_mask` int64 `[batch_size, sequence_length]` and `[batch_size, total_sequence_length]`,
 * `past_key_values.N.key` and `.value` float `[batch_size, keyValueHeads, past_sequence_length, headSize]`.
 * Outputs: `logits` `[batch_size, sequence_length, vocabulary]`, `present.N.key` and `.value`. Positions follow from the mask.
 *
 * @returns the serialized ModelProto.
 * @throws QuantloomError UnsupportedArchitecture, InvalidModel, InvalidCheckpoint; UnsupportedInput for a weight that MatMulNBits cannot hold.
 */
export async function decoderModel({ source, data, accuracyLevel, signal }: DecoderModelOptions): Promise<Uint8Array> {
  const architecture = architectureOf(source.config, (tensor) => source.has(tensor));
  const shape = architecture.shape(source.config);
  requireHeadSize(shape);
  const builder = new GraphBuilder('decoder', { opset: OPSET, irVersion: IR_VERSION });
  const weights = new ModelWeights({ source, builder, data, accuracyLevel });

  const ids = builder.input('input_ids', ['batch_size', 'sequence_length'], 'int64');
  const mask = builder.input('attention_mask', ['batch_size', 'total_sequence_length'], 'int64');
  const attention = { ...sequenceLengths(builder, mask), rotaryCaches: await rotaryCaches(weights, shape) };
  const operators = new OnnxOperators({ builder, weights, shape, norm: architecture.norm, attention });

  const rows = await weights.rows(architecture.embedding, ids);
  const { embeddingScale, positionOffset = 0, gainOffset, logitCap } = shape;
  const tokens = embeddingScale === undefined ? rows : builder.node('Mul', [rows, builder.scalar(embeddingScale)]);
  const hidden =
    architecture.positions === null
      ? tokens
      : builder.node('Add', [
          tokens,
          await weights.rows(architecture.positions, positionIds(builder, ids, mask, positionOffset)),
        ]);
  operators.leave({ hidden });
  let captured = hidden;
  const blocks = architecture.blocks(shape, (tensor) => source.has(tensor));
  for (const block of blocks) {
    for (const stage of block.stages) {
      signal?.throwIfAborted();
      for (const linear of stage.applies) await weights.loadLinear(linear);
      for (const parameter of Object.values(stage.parameters)) await weights.loadVector(parameter, gainOffset);
      operators.enter(stage);
      const body = stageBody(architecture.name, stage.name)(operators);
      operators.leave(body.changes);
      captured = body.captured;
    }
  }
  const head = headOf(blocks);
  await weights.loadLinear(head, shape.tiedHead ? architecture.embedding : architecture.head);
  const logits = softCapped(builder, weights.product(head.name, captured), logitCap ?? null);
  builder.output('logits', logits, ['batch_size', 'sequence_length', shape.vocabularySize]);
  for (const name of operators.present) {
    builder.output(name, name, ['batch_size', shape.keyValueHeads, 'total_sequence_length', shape.headSize]);
  }
  return builder.build();
}

/** GroupQueryAttention of onnxruntime 1.30 refuses others when the model runs. @throws QuantloomError UnsupportedInput. */
export function requireHeadSize({ headSize, rotary }: ModelShape): void {
  if (rotary?.rotated !== undefined) {
    throw new QuantloomError(
      'UnsupportedInput',
      `Positions turn ${rotary.rotated} of the ${headSize} features of a head (config.json: partial_rotary_factor); that is not written to ONNX. Choose another format.`,
      { details: { headSize, rotated: rotary.rotated } },
    );
  }
  if (rotary === null || headSize % ROTARY_HEAD_STEP === 0) return;
  throw new QuantloomError(
    'UnsupportedInput',
    `Attention heads have ${headSize} features (config.json: head_dim); onnxruntime's GroupQueryAttention turns positions into a multiple of ${ROTARY_HEAD_STEP}. Choose another format.`,
    { details: { headSize } },
  );
}

/** int64 `[batch, sequence]`: `offset` and the tokens before each one that the mask lets through. */
function positionIds(builder: GraphBuilder, ids: string, mask: string, offset: number): string {
  const counted = builder.node('CumSum', [mask, builder.integers(1)]);
  const positions = builder.node('Sub', [counted, builder.integers([1 - offset])]);
  const length = builder.node('Gather', [builder.node('Shape', [ids]), builder.integers([1])]);
  const begin = builder.node('Neg', [length]);
  const end = builder.integers([Number.MAX_SAFE_INTEGER]);
  return builder.node('Slice', [positions, begin, end, builder.integers([1])]);
}

/** From the mask: how many tokens each sequence has, and the longest. */
function sequenceLengths(builder: GraphBuilder, mask: string): Pick<AttentionInputs, 'lastPositions' | 'totalTokens'> {
  const tokens = builder.node('ReduceSum', [mask, builder.integers([1])], { keepdims: 0n });
  const lastPositions = builder.cast(builder.node('Sub', [tokens, builder.integers([1])]), 'int32');
  const sizes = builder.node('Shape', [mask]);
  const totalTokens = builder.cast(builder.node('Gather', [sizes, builder.integers(1)]), 'int32');
  return { lastPositions, totalTokens };
}

/** For every position that the model has, and every kind of layer. */
async function rotaryCaches(
  weights: ModelWeights,
  { rotary, attention, headSize, maxPositions }: ModelShape,
): Promise<AttentionInputs['rotaryCaches']> {
  const caches = new Map<string, { readonly cos: string; readonly sin: string }>();
  for (const scaling of [rotary, ...(attention ?? []).map((layer) => layer.rotary)]) {
    if (scaling === null || caches.has(keyOf(scaling))) continue;
    const { cos, sin } = rotaryTable(scaling, headSize, maxPositions);
    const shape = [maxPositions, rotaryPairs(scaling, headSize)];
    const suffix = caches.size === 0 ? '' : `_${caches.size}`;
    caches.set(keyOf(scaling), {
      cos: await weights.loadFloats(`cos_cache${suffix}`, shape, cos),
      sin: await weights.loadFloats(`sin_cache${suffix}`, shape, sin),
    });
  }
  return (scaling) => caches.get(keyOf(scaling)) as { cos: string; sin: string };
}

function keyOf(rotary: RotaryScaling): string {
  return JSON.stringify(rotary);
}

function headOf(blocks: readonly Block[]): LinearShape {
  return blocks.at(-1)?.stages.at(-1)?.captures[0] as LinearShape;
}
