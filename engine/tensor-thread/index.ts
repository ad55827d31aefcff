export type {
  PerplexityTask,
  StageTask,
  StoredActivation,
  StoredBatch,
  StoredWeight,
  StoredWeights,
} from './tensor-tasks';
export { type OpenStage, type StageToOpen, type TensorThread, tensorThread } from './tensor-thread';
