import type { Manifest } from '../manifest';

/** Who can load a GPTQ checkpoint, and how. */
export function loading({ layout, linears }: Pick<Manifest, 'layout' | 'linears'>): string {
  const quantized = Object.values(linears).flatMap(({ recipe }) => (recipe ? [recipe] : []));
  const mixed =
    new Set(quantized.map(({ bits, groupSize, symmetric }) => [bits, groupSize, symmetric].join())).size > 1;
  const head = linears.lm_head?.recipe != null;
  const asymmetric = quantized.some(({ symmetric }) => !symmetric);
  const directory = 'path/to/this/directory';

  const gptqmodel =
    layout === 'gptq' && asymmetric
      ? 'GPTQModel refuses asymmetric files in the v1 format of other producers; write the format `gptq_v2` for it.'
      : `GPTQModel:\n\n\`\`\`python\nfrom gptqmodel import GPTQModel\nmodel = GPTQModel.load("${directory}")\n\`\`\``;
  const transformersReason =
    layout === 'gptq_p'
      ? 'the planar layout of 5 and 6 bits'
      : mixed
        ? 'settings that differ between modules'
        : head
          ? 'a quantized head'
          : Object.keys(linears).some((name) => /\.experts\.\d+\./.test(name))
            ? 'quantized experts: version 5 keeps those of a layer in one tensor'
            : null;
  const transformers = transformersReason
    ? `transformers cannot load ${transformersReason}.`
    : `transformers (with gptqmodel and optimum installed):\n\n\`\`\`python\nfrom transformers import AutoModelForCausalLM\nmodel = AutoModelForCausalLM.from_pretrained("${directory}", device_map="auto")\n\`\`\``;
  const tail = Object.values(linears).some(
    ({ recipe, columns }) => recipe && recipe.groupSize > 0 && columns % recipe.groupSize !== 0,
  );
  const vllmReason =
    layout === 'gptq_p'
      ? 'the planar layout of 5 and 6 bits'
      : tail
        ? 'a group size that does not divide the columns'
        : null;
  const vllm = vllmReason
    ? `vLLM cannot load ${vllmReason}.`
    : `vLLM${layout === 'gptq_v2' ? ' (a version that knows the checkpoint format `gptq_v2`)' : ''}:\n\n\`\`\`sh\nvllm serve ${directory}\n\`\`\``;
  return [transformers, vllm, gptqmodel].join('\n\n');
}
