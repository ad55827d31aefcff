export { changeBasis } from './change-basis';
export { paleyHadamard } from './hadamard-matrix';
export { type OrthogonalBasis, orthogonalBasis } from './orthogonal-basis';
export { rotateTensor, type TensorToRotate } from './rotate-tensor';
export { rotatedDtype } from './rotated-dtype';
