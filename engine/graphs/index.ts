export { createDecodeRunner, type DecodeRunner, type DecodeRunnerOptions } from './decode-runner';
export { activationDtype, activationFeatures, feedForwardFeatures } from './decoder-graph';
export { embed, embedStored } from './embed';
export { createHeadRunner, type HeadRunner, type HeadRunnerOptions } from './head-runner';
export { addPositions } from './learned-positions';
export { createLossRunner, type LossRunner, type LossRunnerOptions } from './loss-runner';
export type { MismatchedLinear, SummedMismatch } from './mismatch-sum';
export { scaleEmbedding } from './scale-embedding';
export { ScratchFloats } from './scratch-floats';
export type { SessionOptions } from './session-pool';
export { stageTemporaryBytesPerSequence } from './stage-memory';
export {
  createStageRunner,
  type StageResult,
  type StageRun,
  type StageRunner,
  type StageRunnerOptions,
} from './stage-runner';
export {
  createStageStream,
  type StageBatch,
  type StageStream,
  type StageStreamOptions,
  type StageSums,
  stageBatchSequences,
} from './stage-stream';
