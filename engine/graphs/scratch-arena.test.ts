import type { NativeAddon } from '../kernels';
import { ScratchArena } from './scratch-arena';

/** Where memory begins is of no matter here. */
const native = { bytesToLine: () => 0 } as unknown as NativeAddon;

function batch(arena: ScratchArena, lengths: Readonly<Record<string, number>>): Map<string, Float32Array> {
  arena.restart();
  const pieces = new Map(Object.entries(lengths).map(([name, length]) => [name, arena.of(name, length).fill(0)]));
  return pieces;
}

function buffersOf(pieces: Iterable<Float32Array>): Set<ArrayBufferLike> {
  return new Set([...pieces].map(({ buffer }) => buffer));
}

describe('the memory of a batch', () => {
  it('holds everything at once, from the second batch on in one array', () => {
    const arena = new ScratchArena(native);
    const lengths = { q: 100, k: 7, context: 33 };
    for (const count of [3, 1, 1]) {
      const pieces = batch(arena, lengths);
      [...pieces.values()].forEach((piece, i) => {
        piece.fill(i + 1);
      });
      expect([...pieces.values()].map((piece) => [...new Set(piece)])).toEqual([[1], [2], [3]]);
      expect([...pieces.values()].map(({ length }) => length)).toEqual(Object.values(lengths));
      expect(buffersOf(pieces.values()).size).toBe(count);
    }
  });

  it('is written over by a batch of another stage', () => {
    const arena = new ScratchArena(native);
    for (let round = 0; round < 2; round++) batch(arena, { gate: 600, up: 600 });
    const [large] = batch(arena, { gate: 600, up: 600 }).values();
    const small = batch(arena, { norm: 100, q: 100, context: 100 });
    expect(buffersOf(small.values())).toEqual(new Set([large?.buffer]));
  });

  it('is the same for a name, however often it is asked for', () => {
    const arena = new ScratchArena(native);
    batch(arena, { gate: 64 });
    arena.restart();
    const first = arena.of('gate', 40);
    expect(arena.of('gate', 64).byteOffset).toBe(first.byteOffset);
    expect(arena.of('gate', 3)).toHaveLength(3);
    expect(arena.of('gate', 64).buffer).toBe(first.buffer);
  });
});
