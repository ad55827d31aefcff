import { loadNativeAddon } from './native-addon';
import { floatsOnLines } from './on-lines';

const { addon } = loadNativeAddon();
const lengths = [0, 1, 15, 1000, 4099, 300_000];

test.each(lengths)('%d floats are all there without native kernels', (length) => {
  expect(floatsOnLines(null, length)).toEqual(new Float32Array(length));
});

(addon ? test : test.skip).each(lengths)('%d floats begin on a cache line, in memory of either kind', (length) => {
  for (const Memory of [ArrayBuffer, SharedArrayBuffer]) {
    const floats = floatsOnLines(addon, length, (bytes) => new Memory(bytes));
    expect(floats).toEqual(new Float32Array(length));
    expect(floats.buffer).toBeInstanceOf(Memory);
    const { buffer, byteOffset, byteLength } = floats;
    expect(addon?.bytesToLine(new Uint8Array(buffer, byteOffset, byteLength))).toBe(0);
    // So it is what it was given, not what it says of itself.
    expect(addon?.bytesToLine(new Uint8Array(buffer, byteOffset + 4))).toBe(60);
  }
});
