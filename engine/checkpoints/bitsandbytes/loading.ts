import type { Manifest } from '../manifest';

/** Who can load a bitsandbytes checkpoint, and how. */
export function loading({ layout }: Pick<Manifest, 'layout'>): string {
  const directory = 'path/to/this/directory';
  const transformers = `transformers (with bitsandbytes and accelerate installed):\n\n\`\`\`python\nfrom transformers import AutoModelForCausalLM\nmodel = AutoModelForCausalLM.from_pretrained("${directory}", device_map="auto")\n\`\`\``;
  const vllm = `vLLM documents that it loads such directories (with bitsandbytes installed); Quantloom's tests do not run it:\n\n\`\`\`sh\nvllm serve ${directory}\n\`\`\``;
  const outliers =
    'Weights are int8 by rows. Features of the input above `llm_int8_threshold` (6.0 where config.json does not say) are multiplied in 16 bit by the runtime.';
  return [transformers, vllm, ...(layout === 'int8' ? [outliers] : [])].join('\n\n');
}
