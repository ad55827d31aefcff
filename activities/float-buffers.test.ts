import { FloatBuffers } from './float-buffers';

test('gives a buffer of the same capacity again, with room for fewer values too', () => {
  const buffers = new FloatBuffers();
  const first = buffers.take(1000);
  buffers.give(first);
  const second = buffers.take(600, 1000);
  expect(second.length).toBe(600);
  expect(second.buffer).toBe(first.buffer);
  expect(buffers.take(1000).buffer).not.toBe(first.buffer);
});

test('a buffer that was handed to another thread is not kept', () => {
  const buffers = new FloatBuffers();
  const array = buffers.take(8);
  structuredClone(array.buffer, { transfer: [array.buffer as ArrayBuffer] });
  buffers.give(array);
  expect(buffers.take(8).length).toBe(8);
});
