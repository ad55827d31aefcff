export type { PerplexityTask, StageTask, StoredWeight, StoredWeights } from './tensor-tasks';
export { type OpenStage, type StageToOpen, type TensorThread, tensorThread } from './tensor-thread';
