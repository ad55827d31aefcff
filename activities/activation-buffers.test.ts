import { ActivationBuffers } from './activation-buffers';

test('gives a buffer of the same size again', () => {
  const buffers = new ActivationBuffers();
  const first = buffers.take(1000);
  buffers.give(first);
  expect(buffers.take(2000)).not.toBe(first);
  expect(buffers.take(1000)).toBe(first);
  expect(buffers.take(1000)).not.toBe(first);
});
