import type { LinearPlan, ModelPlan, QuantizationSpec } from '../spec';
import type { Findings } from './findings';
import { leavesBitsOpen } from './resolve-recipe';

/** Refuses an average that the widths cannot reach, and says what choosing them costs. */
export function checkWidths(spec: QuantizationSpec, { blocks, slices }: ModelPlan, findings: Findings): void {
  const { averageBits, mixedWidths } = spec;
  if (averageBits === null) return;
  const linears = blocks.flatMap(({ stages }) =>
    stages.flatMap((stage) => stage.linears.filter(({ recipe }) => recipe)),
  );
  if (linears.some(({ recipe }) => recipe?.floatType || recipe?.activations)) {
    findings.refuse(
      'PlanRefused',
      'averageBits',
      'floatType and activations go with the width that they have. Leave averageBits out, or these.',
    );
    return;
  }
  const mean = (open: number) => meanBits(linears, (linear) => (leavesBitsOpen(spec, linear.name) ? open : null));
  const [least, most] = [mean(Math.min(...mixedWidths)), mean(Math.max(...mixedWidths))];
  if (averageBits < least || averageBits > most) {
    findings.refuse(
      'PlanRefused',
      'averageBits',
      `${averageBits} bits on average cannot be reached: the widths ${mixedWidths.join(', ')} and the overrides make ${least.toFixed(3)} to ` +
        `${most.toFixed(3)}. Change averageBits, mixedWidths, or the overrides that give bits.`,
    );
    return;
  }
  const cost =
    slices.length === 0
      ? 'every linear is quantized at every width first'
      : spec.order === 'independent'
        ? 'their Hessians are used again for the result'
        : `order ${spec.order} calibrates the layers again with the widths: one forward pass more`;
  findings.warn(`Widths are chosen later, from the errors of the original model's linears at each of them; ${cost}.`);
  if (mixedWidths.some((bits) => bits === 5 || bits === 6)) {
    findings.warn(
      'Widths of 5 and 6 bits may be chosen: one such linear makes the whole checkpoint planar, which only GPTQModel reads. Leave them out of mixedWidths for other runtimes.',
    );
  }
}

/** Weighted by weights; `bitsOf` null: the recipe's own. */
function meanBits(linears: readonly LinearPlan[], bitsOf: (linear: LinearPlan) => number | null): number {
  let bits = 0;
  let weights = 0;
  for (const linear of linears) {
    const size = linear.rows * linear.columns;
    bits += size * (bitsOf(linear) ?? (linear.recipe?.bits as number));
    weights += size;
  }
  return bits / weights;
}
