export { ACTIVATION_TYPES, type ActivationType, floatTypesOf, isStatic } from './activation-types';
export type { ArtifactKind, ArtifactRef } from './artifact-ref';
export { EMBEDDING_BITS, type EmbeddingType, embeddingBits } from './embedding-types';
export { FLOAT_TYPES, type FloatType, recipeOfFloats } from './float-types';
export {
  GGUF_MIXES,
  type GgufMixName,
  QUANTIZED_BLOCK_TYPES,
  type QuantizedBlockType,
} from './gguf-names';
export {
  AHEAD_TASK_QUEUE,
  type JobResult,
  layerWorkflowId,
  ownTaskQueue,
  PROGRESS_QUERY,
  type QueueName,
  SEARCH_ATTRIBUTES,
  TASK_QUEUES,
  UPDATES,
  WORKER_LOST,
  WORKFLOWS,
} from './job';
export type {
  BlockPlan,
  ImportanceSource,
  LinearPlan,
  ModelOrigin,
  ModelPlan,
  PlanEstimate,
  SourceTensor,
  StagePlan,
  TensorTable,
} from './model-plan';
export type { JobPhase, LayerProgress, Progress } from './progress';
export { QUALITIES, type Quality, recipeOfQuality } from './quality';
export type { Override, QuantizationSpec, QuantizationSpecInput, Recipe } from './quantization-spec';
export {
  FORMATS,
  parseQuantizationSpec,
  QuantizationSpecSchema,
  RECIPE_PER_TENSOR,
  RecipeSchema,
} from './quantization-spec';
export { ERROR_CODES, type ErrorCode, QuantloomError } from './quantloom-error';
export type { BlockReport, DampingRung, LinearReport, MeanErrors, WidthErrors, WidthPlan } from './reports';
export {
  NEEDS_REVIEW_SIGNAL,
  type Notification,
  type PromotionRule,
  type RequantizeOutcome,
  type RequantizeRequest,
  type RequantizeResult,
  type ReviewNeeded,
} from './requantize';
export { DTYPE_BITS, type DType, elementCount, type FloatTensor, type Tensor } from './tensor';
