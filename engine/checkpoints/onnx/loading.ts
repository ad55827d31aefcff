import type { Manifest } from '../manifest';
import { modelFilesOf } from './model-files';

/** Who can load an ONNX checkpoint, and how. */
export function loading({ layout }: Pick<Manifest, 'layout'>): string {
  const { dtype, model } = modelFilesOf(layout);
  const directory = 'path/to/this/directory';
  return [
    `transformers.js, in browsers and Node (\`config.json\` names the dtype \`${dtype}\` and the data files):\n\n\`\`\`js\nimport { pipeline } from '@huggingface/transformers';\nconst generate = await pipeline('text-generation', '${directory}');\nconst [{ generated_text }] = await generate('Once upon a time', { max_new_tokens: 32 });\n\`\`\``,
    `onnxruntime-genai:\n\n\`\`\`python\nimport onnxruntime_genai as og\nmodel = og.Model("${directory}")\n\`\`\``,
    `onnxruntime: \`${model}\`, with its weights beside it, has a key-value cache (\`past_key_values.N.key\`, \`present.N.key\`). Activations are float32.`,
    'Prompts of a batch have to be of one length, or padded on the right.',
  ].join('\n\n');
}
