export type { PerplexityTask, StageTask, StoredWeight } from './tensor-tasks';
export { type TensorThread, tensorThread } from './tensor-thread';
