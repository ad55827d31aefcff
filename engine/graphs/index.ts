export { embed } from './embed';
export { stageTemporaryBytesPerSequence } from './stage-memory';
export {
  createStageRunner,
  type StageResult,
  type StageRun,
  type StageRunner,
  type StageRunnerOptions,
} from './stage-runner';
