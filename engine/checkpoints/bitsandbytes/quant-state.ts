import { z } from 'zod';
import { QuantloomError } from '../../spec';

/** What is no tensor of bitsandbytes' QuantState, in the order in which it writes it. */
const QuantStateSchema = z.object({
  quant_type: z.enum(['nf4', 'fp4']),
  /** Powers of two, as its kernels need. */
  blocksize: z.literal([32, 64, 128, 256, 512, 1024, 2048, 4096]),
  dtype: z.enum(['float32', 'float16', 'bfloat16']),
  shape: z.tuple([z.int().positive(), z.int().positive()]),
  nested_blocksize: z.int().positive().optional(),
  nested_dtype: z.literal('float32').optional(),
  nested_offset: z.number().optional(),
});
export type QuantState = z.infer<typeof QuantStateSchema>;

/** The bytes of the tensor `quant_state.bitsandbytes__*`: JSON with the spaces of Python's. */
export function serializeQuantState(state: QuantState): Uint8Array {
  const fields = Object.entries(state).map(([name, value]) => {
    const text = Array.isArray(value) ? `[${value.join(', ')}]` : JSON.stringify(value);
    return `"${name}": ${text}`;
  });
  return new TextEncoder().encode(`{${fields.join(', ')}}`);
}

/** @param tensor its name, for messages. @throws QuantloomError InvalidCheckpoint naming the bad fields. */
export function parseQuantState(tensor: string, bytes: Uint8Array): QuantState {
  let json: unknown;
  try {
    json = JSON.parse(new TextDecoder().decode(bytes));
  } catch (cause) {
    throw new QuantloomError('InvalidCheckpoint', `${tensor} is not JSON: ${(cause as Error).message}`, { cause });
  }
  const parsed = QuantStateSchema.safeParse(json);
  if (parsed.success) return parsed.data;
  const faults = parsed.error.issues.map((issue) => `${issue.path.join('.') || '(whole object)'}: ${issue.message}`);
  throw new QuantloomError('InvalidCheckpoint', `${tensor}: ${faults.join('; ')}`);
}
