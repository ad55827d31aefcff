import { Loan } from './loan';
import { ReusedBuffers } from './reused-buffers';

const create = (bytes: number) => new ArrayBuffer(bytes);

test('gives a buffer of the same size again', () => {
  const buffers = new ReusedBuffers(create, 1 << 20);
  const first = buffers.take(1000);
  buffers.give(first);
  expect(buffers.take(2000)).not.toBe(first);
  expect(buffers.take(1000)).toBe(first);
  expect(buffers.take(1000)).not.toBe(first);
});

test('what waits gives way to what is of another length, where both were never there at once', () => {
  const buffers = new ReusedBuffers(create, 3000);
  const early = buffers.take(2000);
  buffers.give(early);
  const late = buffers.take(1500);
  expect(buffers.take(2000)).not.toBe(early);
  buffers.give(late);
  expect(buffers.take(1500)).toBe(late);
});

test('keeps as much as was in use at once, however much that is', () => {
  const buffers = new ReusedBuffers(create, 10);
  const both = [buffers.take(4000), buffers.take(5000)];
  for (const buffer of both) buffers.give(buffer);
  expect([buffers.take(4000), buffers.take(5000)]).toEqual(both);
});

test('a loan goes back whole, once', () => {
  const buffers = new ReusedBuffers(create, 1 << 20);
  const loan = new Loan(buffers);
  const taken = [loan.take(8), loan.take(8)];
  loan.giveBack();
  loan.giveBack();
  const again = [buffers.take(8), buffers.take(8), buffers.take(8)];
  expect(taken.every((buffer) => again.includes(buffer))).toBe(true);
  expect(new Set(again).size).toBe(3);
});
