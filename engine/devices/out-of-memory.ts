import { QuantloomError } from '../spec';

/**
 * How onnxruntime, its providers and the Node.js binding say that an allocation has failed; their errors have no code.
 *
 * onnxruntime: core/framework/bfc_arena.cc (arenas of the CPU and of CUDA), core/providers/cuda/cuda_call.cc (CUDA, cuBLAS, cuDNN), std::bad_alloc of an
 * allocator without an arena. WebGPU tells the failed allocation to its log only: the error that arrives is of the first use of that buffer.
 */
const FORMS: readonly RegExp[] = [
  /Failed to allocate memory for requested buffer of size \d+/,
  /Available memory of \d+ is smaller than requested bytes of \d+/,
  /std::bad_alloc|\bbad allocation\b/,
  /CUDA failure 2: out of memory|cudaErrorMemoryAllocation|CUDA_ERROR_OUT_OF_MEMORY/,
  /CUBLAS_STATUS_ALLOC_FAILED|CUDNN_STATUS_ALLOC_FAILED/,
  /\[Invalid Buffer\b[^\]]*\] is invalid due to a previous error/,
  /VK_ERROR_OUT_OF_(DEVICE|HOST)_MEMORY/,
  /exceeding maxStorageBufferBindingSize of \d+/,
  /^Array buffer allocation failed$/,
];

/** Whether an error of onnxruntime says that memory, of the device or of the machine, does not suffice for what was asked for at once. */
export function isOutOfMemory(error: unknown): boolean {
  const message = error instanceof Error ? error.message : String(error);
  return FORMS.some((form) => form.test(message));
}

/** What a stage was run on when memory did not suffice. */
export interface TooMuchAtOnce {
  readonly stage: string;
  readonly sequences: number;
  /** Tokens of each. */
  readonly sequenceLength: number;
}

/** @returns DeviceOutOfMemory with these as details; retryable as long as fewer sequences can be tried. */
export function deviceOutOfMemory(much: TooMuchAtOnce, cause: unknown): QuantloomError {
  const { stage, sequences, sequenceLength } = much;
  const place = `Stage "${stage}" ran out of memory`;
  const message =
    sequences > 1
      ? `${place} with ${sequences} sequences of ${sequenceLength} tokens at once; fewer at once may do.`
      : `${place} with a single sequence of ${sequenceLength} tokens. Let nothing else use the device, take one with more memory or the CPU ` +
        '(worker --device), or ask for shorter sequences (--sequence-length).';
  return new QuantloomError('DeviceOutOfMemory', message, {
    retryable: sequences > 1,
    details: { stage, sequences, sequenceLength },
    cause,
  });
}
