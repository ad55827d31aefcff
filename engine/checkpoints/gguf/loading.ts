import { GGUF_FILE } from './assemble-gguf';

/** Who can load a GGUF checkpoint, and how. */
export function loading(): string {
  const file = `path/to/this/directory/${GGUF_FILE}`;
  return [
    `llama.cpp, and what is built on it (LM Studio, node-llama-cpp, llama-cpp-python):\n\n\`\`\`sh\nllama-cli -m ${file}\n\`\`\``,
    `Ollama, with a Modelfile:\n\n\`\`\`\nFROM ${file}\n\`\`\``,
    'Tokenizer and chat template are in the file. The other files are for Quantloom, which reads the directory.',
  ].join('\n\n');
}
