import { capturedInputs } from '../models';
import { capturedFeatures, rowsOfInput } from './captured-rows';
import { ScratchFloats } from './scratch-floats';
import type { StageBatch, StageStreamOptions } from './stage-stream';

const scratch = new ScratchFloats();

/** The largest magnitude of every input that a stage captures, over batches. */
export class InputMagnitudes {
  readonly #largest: number[];

  constructor(private readonly options: Pick<StageStreamOptions, 'stage' | 'shape' | 'sequenceLength'>) {
    this.#largest = capturedInputs(options.stage).map(() => 0);
  }

  /**
   * Adds a batch of which these sequences count.
   *
   * @param captured `[tokens, features]`
   */
  add(batch: StageBatch, captured: Float32Array, sequences: readonly number[]): void {
    const { stage, shape, sequenceLength } = this.options;
    const inputs = capturedInputs(stage);
    const features = capturedFeatures(stage, shape);
    if (inputs.length === 1) {
      const stride = sequenceLength * features;
      for (const i of sequences) this.#see(0, captured.subarray(i * stride, (i + 1) * stride));
      return;
    }
    const tokens = sequences.flatMap((i) => Array.from({ length: sequenceLength }, (_, t) => i * sequenceLength + t));
    const chosen = (batch.outputs.routing ?? batch.inputs.routing) as Float32Array;
    const routing = stage.allExperts ? null : chosen;
    const given = { captured, features, perToken: shape.experts?.perToken as number, tokens, routing };
    inputs.forEach((input, at) => {
      this.#see(at, rowsOfInput(input, given, scratch));
    });
  }

  largest(): readonly number[] {
    return this.#largest;
  }

  #see(input: number, values: Float32Array): void {
    let largest = this.#largest[input] as number;
    for (let i = 0; i < values.length; i++) {
      const magnitude = Math.abs(values[i] as number);
      if (magnitude > largest) largest = magnitude;
    }
    this.#largest[input] = largest;
  }
}
