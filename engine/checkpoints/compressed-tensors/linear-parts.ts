import { QuantloomError, type Tensor } from '../../spec';
import type { LinearSource } from '../linear-storage';

/** The tensors of one module, checked when they are read. */
export class LinearParts {
  constructor(
    private readonly module: string,
    private readonly source: Pick<LinearSource, 'where' | 'read'>,
  ) {}

  /** null where there is none. */
  find(part: string): Promise<Tensor | null> {
    return this.source.read(`${this.module}.${part}`);
  }

  /**
   * @param shapes any of these; default any.
   * @throws QuantloomError InvalidCheckpoint naming the tensor, what it is and what it should be.
   */
  async read(part: string, dtypes: readonly string[], shapes?: readonly (readonly number[])[]): Promise<Tensor> {
    const tensor = await this.find(part);
    if (!tensor) {
      throw new QuantloomError('InvalidCheckpoint', `${this.source.where}: ${this.module}.${part} is missing.`);
    }
    if (!dtypes.includes(tensor.dtype)) throw this.invalid(part, tensor.dtype, dtypes.join(' or '));
    if (shapes && !shapes.some((shape) => shape.join() === tensor.shape.join())) {
      const wanted = shapes.map((shape) => JSON.stringify(shape)).join(' or ');
      throw this.invalid(part, JSON.stringify(tensor.shape), `${wanted} for what the config says`);
    }
    return tensor;
  }

  invalid(part: string, found: string, wanted: string): QuantloomError {
    return new QuantloomError(
      'InvalidCheckpoint',
      `${this.module}.${part} is ${found}, expected ${wanted}. The tensors and the quantization_config of config.json do not belong together.`,
      { details: { tensor: `${this.module}.${part}`, found, wanted } },
    );
  }
}
