import { CPU, deviceNamed } from '../engine/devices';
import { QuantloomError } from '../engine/spec';
import { batchAfter, carriedBatch, deviceWithin, rememberBatch } from './smaller-batch';

function outOfMemory(sequences: number): QuantloomError {
  const details = { stage: 'mlp', sequences, sequenceLength: 512 };
  return new QuantloomError('DeviceOutOfMemory', 'too much', { retryable: sequences > 1, details });
}

describe('the batch of the attempt after one that ran out of memory', () => {
  it('is half of it, half of that, then one sequence: the last of four attempts is the smallest there is', () => {
    expect(batchAfter(outOfMemory(16), 1)).toEqual({ batchTokens: 8 * 512 });
    expect(batchAfter(outOfMemory(8), 2)).toEqual({ batchTokens: 4 * 512 });
    expect(batchAfter(outOfMemory(4), 3)).toEqual({ batchTokens: 512 });
    expect(batchAfter(outOfMemory(3), 1)).toEqual({ batchTokens: 512 });
  });

  it('is left as it is by other failures, and by one that no smaller batch helps', () => {
    expect(batchAfter(outOfMemory(1), 1)).toBeUndefined();
    expect(batchAfter(new QuantloomError('StoreFull', 'full', { retryable: true }), 1)).toBeUndefined();
    expect(batchAfter(new Error('Failed'), 1)).toBeUndefined();
  });

  it('comes with the last heartbeat, beside what the attempt was doing', () => {
    expect(carriedBatch({ block: 3, stage: 'mlp', batchTokens: 1024 })).toEqual({ batchTokens: 1024 });
    for (const other of [undefined, null, {}, { block: 3 }, { batchTokens: 0 }, { batchTokens: '7' }])
      expect(carriedBatch(other)).toBeUndefined();
  });

  it('bounds the device of that attempt', () => {
    expect(deviceWithin(deviceNamed('cuda:1'), { batchTokens: 512 })).toMatchObject({
      name: 'cuda:1',
      batchTokens: 512,
    });
    expect(deviceWithin(CPU, undefined)).toBe(CPU);
  });

  it('is remembered by the process for work that is alike', () => {
    expect(deviceWithin(CPU, undefined, 'mlp 512')).toBe(CPU);
    rememberBatch('mlp 512', outOfMemory(16));
    rememberBatch('mlp 512', new Error('Failed'));
    expect(deviceWithin(CPU, undefined, 'mlp 512').batchTokens).toBe(4096);
    expect(deviceWithin(CPU, { batchTokens: 1024 }, 'mlp 512').batchTokens).toBe(1024);
    expect(deviceWithin(CPU, { batchTokens: 8192 }, 'mlp 512').batchTokens).toBe(4096);
    expect(deviceWithin(CPU, undefined, 'attention 512')).toBe(CPU);
  });
});
