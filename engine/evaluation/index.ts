export type { DenseReader } from './dense-reader';
export { type GenerateOptions, generate } from './generate';
export { type Perplexity, type PerplexityOptions, perplexity } from './perplexity';
export { readEvaluationText } from './read-evaluation-text';
