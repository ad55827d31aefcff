import { existsSync } from 'node:fs';
import { type QuantizationSpec, QuantloomError } from '../engine/spec';

export function refuseExistingOutput(spec: QuantizationSpec): void {
  if (existsSync(spec.output) && !spec.overwrite) throw new QuantloomError('OutputExists', 'x');
}

export async function alreadyPublished(_spec: QuantizationSpec): Promise<Record<string, string> | null> {
  return null;
}
