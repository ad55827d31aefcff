export type {
  PerplexityTask,
  SharedActivation,
  SharedBatch,
  StageTask,
  StoredWeight,
  StoredWeights,
} from './tensor-tasks';
export { type OpenStage, type StageToOpen, type TensorThreads, tensorThreads } from './tensor-threads';
