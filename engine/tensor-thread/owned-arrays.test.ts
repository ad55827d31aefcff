import { MessageChannel } from 'node:worker_threads';
import { ownedArrays } from './owned-arrays';

describe('ownedArrays', () => {
  it('copies what shares an allocation, so that all of it can change hands', () => {
    const small = Buffer.from('small buffers of Node lie in one pool');
    expect(small.byteLength).toBeLessThan(small.buffer.byteLength);
    const part = new Float32Array([1, 2, 3, 4]).subarray(1, 3);
    const { value, buffers } = ownedArrays({ tensors: { small, part }, name: 'w' });
    expect(value).toEqual({ tensors: { small: new Uint8Array(small), part: new Float32Array([2, 3]) }, name: 'w' });
    expect(buffers.map(({ byteLength }) => byteLength)).toEqual([small.byteLength, 8]);
    const { port1 } = new MessageChannel();
    port1.postMessage(value, buffers);
    port1.close();
    expect(buffers.map(({ byteLength }) => byteLength)).toEqual([0, 0]);
    expect(small.toString()).toBe('small buffers of Node lie in one pool');
  });

  it('takes what fills its allocation as it is', () => {
    const whole = new Float32Array([1, 2]);
    const { value, buffers } = ownedArrays({ whole, again: whole });
    expect(value.whole).toBe(whole);
    expect(buffers).toEqual([whole.buffer]);
  });
});
