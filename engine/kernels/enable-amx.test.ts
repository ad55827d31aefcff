import { enableAmx } from './enable-amx';
import { loadNativeAddon } from './native-addon';

const { addon } = loadNativeAddon();

// Another file of this process may have let products use it.
beforeEach(() => {
  addon?.useAmx(false);
});

test('AMX is used where there is any and it works, and bytes are as before when it is off again', () => {
  const product = () => {
    const [tokens, columns, rows] = [40, 70, 50];
    const numbers = (count: number) => Float32Array.from({ length: count }, (_, i) => Math.sin(0.37 * i * i + i));
    const packed = new Uint32Array(addon?.packedLength(rows, columns) ?? 0);
    addon?.packLinear(numbers(rows * columns), rows, columns, packed);
    const y = new Float32Array(tokens * rows);
    addon?.multiplyLinear(numbers(tokens * columns), columns, packed, rows, null, y, 1);
    return y;
  };
  const before = product();
  try {
    const state = enableAmx();
    if (!addon?.hasAmx()) expect(state).toBe('absent');
    for (const [at, value] of product().entries()) expect(value).toBeCloseTo(before[at] as number, 4);
  } finally {
    addon?.useAmx(false);
  }
  expect(product()).toEqual(before);
});

test('the trial itself answers', () => {
  if (!addon) return;
  if (!addon.hasAmx()) expect(addon.amxWorks()).toBe(false);
  expect(addon.useAmx(false)).toBe(false);
});
