import { copyFileSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { tinyLlamaDirectory } from '../tiny-llamas';

type Json = Record<string, unknown>;
interface HeaderEntry {
  dtype: string;
  shape: number[];
  data_offsets: [number, number];
}

/** A good model on disk, to be broken in one way: a two-layer Llama of transformers with the demo model's tokenizer. */
export class BrokenModel {
  readonly weights: string;

  constructor(readonly directory: string) {
    mkdirSync(directory, { recursive: true });
    this.weights = this.path('model.safetensors');
    for (const file of ['config.json', 'model.safetensors']) {
      copyFileSync(join(tinyLlamaDirectory('grouped'), file), this.path(file));
    }
    copyFileSync(join(__dirname, '../../assets/demo-model/tokenizer.json'), this.path('tokenizer.json'));
  }

  path(file: string): string {
    return join(this.directory, file);
  }

  config(change: (config: Json) => void): void {
    const config = JSON.parse(readFileSync(this.path('config.json'), 'utf8')) as Json;
    change(config);
    writeFileSync(this.path('config.json'), JSON.stringify(config));
  }

  /** Rewrites the JSON in front of the tensors; the tensors' bytes stay. */
  header(change: (header: Record<string, HeaderEntry>) => void): void {
    const { header, data } = this.parts();
    change(header);
    this.write(Buffer.from(JSON.stringify(header)), data);
  }

  /** Puts an F32 value in place of one element. */
  poison(tensor: string, element: number, value: number): void {
    const { header, data } = this.parts();
    const [begin] = (header[tensor] as HeaderEntry).data_offsets;
    data.writeFloatLE(value, begin + 4 * element);
    this.write(Buffer.from(JSON.stringify(header)), data);
  }

  /** The file as it would be after a download that stopped. */
  truncate(bytes: number): void {
    writeFileSync(this.weights, readFileSync(this.weights).subarray(0, bytes));
  }

  private parts(): { header: Record<string, HeaderEntry>; data: Buffer } {
    const file = readFileSync(this.weights);
    const length = Number(file.readBigUInt64LE(0));
    return { header: JSON.parse(file.toString('utf8', 8, 8 + length)), data: file.subarray(8 + length) };
  }

  private write(header: Buffer, data: Buffer): void {
    const length = Buffer.alloc(8);
    length.writeBigUInt64LE(BigInt(header.length));
    writeFileSync(this.weights, Buffer.concat([length, header, data]));
  }
}
