import { deviceOutOfMemory, isOutOfMemory } from './out-of-memory';

const NODE = "Non-zero status code returned while running MatMul node. Name:'MatMul_92' Status Message: ";

describe('an allocation that failed is known by its message', () => {
  // As they stand in issues of onnxruntime and of its users.
  it.each([
    // microsoft/onnxruntime#22702
    `${NODE}/onnxruntime_src/onnxruntime/core/framework/bfc_arena.cc:376 void* onnxruntime::BFCArena::AllocateRawInternal(size_t, bool, onnxruntime::Stream*, bool, onnxruntime::WaitNotificationFn) Failed to allocate memory for requested buffer of size 4585490524328388608\n`,
    // An arena with a limit
    `${NODE}/onnxruntime_src/onnxruntime/core/framework/bfc_arena.cc:342 void* onnxruntime::BFCArena::AllocateRawInternal(size_t, bool, onnxruntime::Stream*) Available memory of 34699008 is smaller than requested bytes of 945041920\n`,
    'CUDA failure 2: out of memory ; GPU=0 ; hostname=node-3 ; file=/onnxruntime_src/onnxruntime/core/providers/cuda/cuda_allocator.cc ; line=47 ; expr=cudaMalloc((void**)&p, size); ',
    'CUBLAS failure 3: CUBLAS_STATUS_ALLOC_FAILED ; GPU=0 ; hostname=node-3 ; expr=cublasCreate(&cublas_handle_); ',
    `${NODE}std::bad_alloc`,
    `${NODE}bad allocation`,
    'WebGPU validation failed. [Invalid Buffer (unlabeled)] is invalid due to a previous error.\n - While validating entries[2]',
    'Array buffer allocation failed',
  ])('%s', (message) => expect(isOutOfMemory(new Error(message))).toBe(true));

  it.each([
    'invalid expand shape',
    'CUDA failure 700: an illegal memory access was encountered ; GPU=0',
    'CUDA failure 100: no CUDA-capable device is detected',
    'OrtSessionOptionsAppendExecutionProvider_Cuda: Failed to load shared library',
    'WebGPU validation failed. [Invalid ShaderModule "Gemm"] is invalid due to a previous error.',
    'Failed to get a WebGPU adapter: No supported adapters',
  ])('and nothing else: %s', (message) => expect(isOutOfMemory(new Error(message))).toBe(false));
});

it('is worth another try only as long as fewer sequences can be had at once', () => {
  const cause = new Error('std::bad_alloc');
  const several = deviceOutOfMemory({ stage: 'mlp', sequences: 2, sequenceLength: 2048 }, cause);
  expect(several).toMatchObject({ code: 'DeviceOutOfMemory', retryable: true, cause });
  const one = deviceOutOfMemory({ stage: 'mlp', sequences: 1, sequenceLength: 2048 }, cause);
  expect(one.retryable).toBe(false);
  expect(one.message).toMatch(/single sequence of 2048 tokens.*--device.*--sequence-length/);
  expect(isOutOfMemory(one)).toBe(false);
});
