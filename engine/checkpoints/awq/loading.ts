/** Who can load an AWQ checkpoint, and how. */
export function loading(): string {
  const directory = 'path/to/this/directory';
  return [
    `transformers (with gptqmodel installed):\n\n\`\`\`python\nfrom transformers import AutoModelForCausalLM\nmodel = AutoModelForCausalLM.from_pretrained("${directory}", device_map="auto")\n\`\`\``,
    `GPTQModel:\n\n\`\`\`python\nfrom gptqmodel import GPTQModel\nmodel = GPTQModel.load("${directory}")\n\`\`\``,
    `vLLM documents that it loads such directories; Quantloom's tests do not run it:\n\n\`\`\`sh\nvllm serve ${directory}\n\`\`\``,
  ].join('\n\n');
}
