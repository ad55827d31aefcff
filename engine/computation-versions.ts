import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { selectKernels } from './kernels';
import { packageRoot } from './sources';

/** Versions of what computed a result, for its provenance. */
export async function computationVersions(): Promise<Record<string, string>> {
  const { version, dependencies } = JSON.parse(await readFile(join(packageRoot(), 'package.json'), 'utf8')) as {
    version: string;
    dependencies: Record<string, string>;
  };
  return {
    quantloom: version,
    node: process.versions.node,
    'onnxruntime-node': dependencies['onnxruntime-node'] as string,
    '@huggingface/tokenizers': dependencies['@huggingface/tokenizers'] as string,
    kernels: selectKernels().name,
  };
}
