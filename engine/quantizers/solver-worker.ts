/** What runs in the threads of a SolverPool: one exported function per kind of task. */
import { type GridKernels, type KernelChoice, nativeGridKernels, referenceKernels, selectKernels } from '../kernels';
import {
  type BlockRows,
  type BlockRowsTask,
  quantizeBlockRows as quantizeBlockRowsWith,
} from './blocks/quantize-block-rows';
import { dampedHessian, type Factorization, type FactorizationTask, factorize as factorizeWith } from './factorize';
import {
  type MinifloatRows,
  type MinifloatRowsTask,
  quantizeMinifloatRows as quantizeMinifloatRowsWith,
} from './minifloat/quantize-minifloat-rows';
import { type MismatchTask, mismatchTargetOf } from './mismatch-target';
import type { CodesOnGrid } from './on-grid/codes-on-grid';
import { quantizeTensorRows as quantizeTensorRowsWith, type TensorRowsTask } from './per-tensor/quantize-tensor-rows';
import { quantizeRows as quantizeRowsWith } from './quantize-rows';
import type { QuantizedRows, RowBlock, RowFault, SharedProblem } from './row-block';

export function factorize(task: FactorizationTask): Promise<Factorization> {
  const { columns } = task;
  const factor = new Float64Array(new SharedArrayBuffer(columns * columns * 8));
  return factorizeWith(task, (damping, floor) =>
    referenceKernels.inverseFactor(dampedHessian(task, damping, floor), factor, columns) ? factor : null,
  );
}

export function mismatchTarget(task: MismatchTask): Float32Array | null {
  return mismatchTargetOf(task);
}

export function quantizeBlockRows(task: BlockRowsTask): BlockRows {
  return quantizeBlockRowsWith(gridKernels(task), task);
}

export function quantizeMinifloatRows(task: MinifloatRowsTask): MinifloatRows {
  return quantizeMinifloatRowsWith(gridKernels(task), task);
}

export function quantizeTensorRows(task: TensorRowsTask): CodesOnGrid {
  return quantizeTensorRowsWith(gridKernels(task), task);
}

function gridKernels({ kernels = 'typescript' }: { readonly kernels?: KernelChoice }): GridKernels {
  const { native } = selectKernels(kernels);
  return native ? nativeGridKernels(native) : referenceKernels;
}

export function quantizeRows(task: { shared: SharedProblem; block: RowBlock }): QuantizedRows | RowFault {
  return quantizeRowsWith(referenceKernels, task.shared, task.block);
}
