import type { DType } from './tensor';

export type ArtifactKind =
  | 'weight' // a tensor of the source model, read where it lies; or one that was rotated or scaled, or its scales
  | 'activation' // what one stage leaves behind for one slice; dropped two layers later
  | 'gram' // XᵀX of one slice; dropped with the layer's activations
  | 'hessian' // mean of x xᵀ over all slices
  | 'importance' // mean squares of the input features of a linear
  | 'quantized-linear'
  | 'solved-rows' // of some linear, until all of them are joined
  | 'layer' // a finished layer in its final format
  | 'tokens'
  | 'document' // JSON or text: plan, report, calibration text
  | 'checkpoint'; // a whole directory, identified by its weights

/**
 * What Temporal carries instead of bytes (under 1 KB). The content is found in the store by `sha256`, or, for a tensor of the
 * source model, at `at`.
 */
export interface ArtifactRef {
  readonly kind: ArtifactKind;
  /** SHA-256 of the content, lower-case hex. */
  readonly sha256: string;
  readonly bytes: number;
  readonly dtype?: DType;
  readonly shape?: readonly number[];
  /** The bytes are those of the transpose; reading turns them into `shape`. Only of a tensor of the source. Absent: they are not. */
  readonly transposed?: true;
  /** Key of the computation that produced it: how to have it again when it is lost. Not part of the identity. */
  readonly from?: string;
  /** Where the bytes lie outside the store. Not part of the identity. */
  readonly at?: { readonly file: string; readonly offset: number };
  /** Task queue of a worker on whose machine a copy lies: who reads it is best run there. Not part of the identity. */
  readonly near?: string;
}
