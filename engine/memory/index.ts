export { leaveGarbage } from './garbage';
export { Loan, ownMemory, type TakeMemory, zeroSums } from './loan';
export { ReusedBuffers } from './reused-buffers';
