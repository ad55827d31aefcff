import { RawSafetensors } from '../../engine/checkpoints/verification/raw-safetensors';
import { decodeFloats } from '../../engine/numbers';
import type { DType, Tensor } from '../../engine/spec';

/** Every tensor of a safetensors file, in memory. */
export async function tensorsOfFile(path: string) {
  const raw = await RawSafetensors.open(path);
  try {
    const tensors: Record<string, Tensor> = {};
    for (const [name, { dtype, shape }] of raw.tensors) {
      tensors[name] = { dtype: dtype as DType, shape, data: new Uint8Array(await raw.read(name)) };
    }
    const tensor = (name: string) => tensors[name] as Tensor;
    return { tensors, tensor, floats: (name: string) => decodeFloats(tensor(name)), metadata: raw.metadata };
  } finally {
    await raw.close();
  }
}
