/** What runs in the threads of a SolverPool: one exported function per kind of task. */
import { selectKernels } from '../kernels';
import { type Factorization, type FactorizationTask, factorize as factorizeWith } from './factorize';
import { quantizeRows as quantizeRowsWith } from './quantize-rows';
import type { QuantizedRows, RowBlock, RowFault, SharedProblem } from './row-block';

const kernels = selectKernels();

export function factorize(task: FactorizationTask): Factorization {
  return factorizeWith(kernels, task);
}

export function quantizeRows(task: { shared: SharedProblem; block: RowBlock }): QuantizedRows | RowFault {
  return quantizeRowsWith(kernels, task.shared, task.block);
}
