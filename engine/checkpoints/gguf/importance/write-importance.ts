import { bytesOf } from '../../../numbers';
import type { OutputFile } from '../../output-file';
import { text, texts, uint32 } from '../container/gguf-value';
import type { GgufTensor } from '../container/layout-gguf';
import { writeGguf } from '../container/write-gguf';
import type { ImportanceFile } from './importance-file';

/**
 * Writes an importance matrix in the form of GGUF, as llama-imatrix does: entries by name, each as sums and counts.
 *
 * @param path must not exist.
 * @throws QuantloomError OutputExists, OutputUnwritable.
 */
export function writeImportance(
  path: string,
  { datasets, chunks, chunkTokens, entries }: ImportanceFile,
): Promise<OutputFile> {
  const contents = new Map<string, Float32Array>();
  const tensors: GgufTensor[] = [];
  for (const [name, { columns, sums, counts }] of [...entries].sort(([a], [b]) => (a < b ? -1 : 1))) {
    const several = counts.length > 1;
    const parts = [
      { part: 'in_sum2', shape: several ? [counts.length, columns] : [columns], values: sums },
      { part: 'counts', shape: several ? [counts.length, 1] : [1], values: counts },
    ];
    for (const { part, shape, values } of parts) {
      tensors.push({ name: `${name}.${part}`, shape, type: 'F32' });
      contents.set(`${name}.${part}`, values);
    }
  }
  return writeGguf({
    path,
    metadata: new Map([
      ['general.type', text('imatrix')],
      ['imatrix.datasets', texts(datasets)],
      ['imatrix.chunk_count', uint32(chunks)],
      ['imatrix.chunk_size', uint32(chunkTokens ?? 0)],
    ]),
    tensors,
    read: ({ name }) => [bytesOf(contents.get(name) as Float32Array)],
  });
}
