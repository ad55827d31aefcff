import type { CheckpointFormat, FormatName } from './format';
import { gptq, gptqV2 } from './gptq/gptq-format';

export type { CheckpointContext, CheckpointFormat, FormatName } from './format';

/** Every format that can be written. */
export const CHECKPOINT_FORMATS: Readonly<Record<FormatName, CheckpointFormat>> = {
  gptq,
  gptq_v2: gptqV2,
};

/** The entry of a format's name. */
export function formatOf(name: FormatName): CheckpointFormat {
  return CHECKPOINT_FORMATS[name];
}
