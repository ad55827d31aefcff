export { createDecodeRunner, type DecodeRunner, type DecodeRunnerOptions } from './decode-runner';
export { embed } from './embed';
export { createHeadRunner, type HeadRunner, type HeadRunnerOptions } from './head-runner';
export type { SessionOptions } from './session-pool';
export { stageTemporaryBytesPerSequence } from './stage-memory';
export {
  createStageRunner,
  type StageResult,
  type StageRun,
  type StageRunner,
  type StageRunnerOptions,
} from './stage-runner';
