import { join } from 'node:path';
import type { TensorPlaces } from './check-files';
import { RawSafetensors } from './raw-safetensors';
import type { StoredTensors } from './stored-tensors';

/** The weight files of a directory, each opened when it is first needed. */
export class TensorsOfDirectory implements StoredTensors {
  private readonly open = new Map<string, Promise<RawSafetensors>>();

  constructor(
    private readonly directory: string,
    readonly tensors: TensorPlaces,
  ) {}

  async read(tensor: string): Promise<Buffer> {
    const file = this.tensors.get(tensor)?.file;
    if (file === undefined) throw new Error(`${tensor} is missing`);
    const known = this.open.get(file) ?? RawSafetensors.open(join(this.directory, file));
    this.open.set(file, known);
    return (await known).read(tensor);
  }

  async close(): Promise<void> {
    const opened = await Promise.allSettled(this.open.values());
    for (const file of opened) if (file.status === 'fulfilled') await file.value.close();
  }
}
