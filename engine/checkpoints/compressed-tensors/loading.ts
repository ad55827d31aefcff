import type { ActivationType } from '../../spec';
import type { Manifest } from '../manifest';

/** Bits that every version of vLLM has kernels for. */
const VLLM_BITS = [4, 8];

const INPUTS: Readonly<Record<ActivationType, string>> = {
  int8: 'int8, token by token',
  fp8: 'fp8, token by token',
  'fp8-static': 'fp8, with scales from the calibration set',
  mxfp4: 'mxfp4, in groups of 32 features',
  nvfp4: 'nvfp4, in groups of 16 features with a scale from the calibration set',
};

/** Who can load a compressed-tensors checkpoint, and how. */
export function loading({ linears }: Pick<Manifest, 'linears'>): string {
  const recipes = Object.values(linears).flatMap(({ recipe }) => recipe ?? []);
  const widths = new Set(recipes.flatMap(({ bits, floatType }) => (floatType ? [] : bits)));
  const others = [...widths].filter((bits) => !VLLM_BITS.includes(bits)).sort();
  const directory = 'path/to/this/directory';
  const version = others.some((bits) => 32 % bits !== 0) ? ' 0.18 or later' : '';
  const kernels =
    others.length === 0 ? '' : ` (a version that has kernels for ${others.join(' and ')} bits in this format)`;
  const activations = new Set(recipes.flatMap((recipe) => recipe.activations ?? []));
  const how = [...activations].map((type) => INPUTS[type as ActivationType]).join(', and ');
  const rounded =
    how === ''
      ? []
      : [
          `Inputs of quantized linears are quantized by the runtime to ${how}, as config.json says. The perplexity of this card is measured so.`,
        ];
  return [
    ...rounded,
    `transformers (with compressed-tensors${version} installed):\n\n\`\`\`python\nfrom transformers import AutoModelForCausalLM\nmodel = AutoModelForCausalLM.from_pretrained("${directory}", device_map="auto")\n\`\`\``,
    `vLLM${kernels}:\n\n\`\`\`sh\nvllm serve ${directory}\n\`\`\``,
  ].join('\n\n');
}
