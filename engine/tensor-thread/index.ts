export type {
  PerplexityTask,
  StageTask,
  StoredActivation,
  StoredBatch,
  StoredWeight,
  StoredWeights,
} from './tensor-tasks';
export { type OpenStage, type StageToOpen, type TensorThreads, tensorThreads } from './tensor-threads';
