import { computationKey } from './identity';

const WEIGHT = { kind: 'weight', sha256: 'a'.repeat(64), bytes: 32, dtype: 'F16', shape: [4, 4] } as const;

describe('the key of a computation', () => {
  const keyOf = (weight: object) => computationKey('quantize', 1, { weight });

  it('counts an artifact by its content alone, wherever it lies', () => {
    expect(keyOf({ ...WEIGHT, at: { file: '/somewhere', offset: 8 }, from: 'b' })).toBe(keyOf(WEIGHT));
    expect(keyOf({ ...WEIGHT, sha256: 'b'.repeat(64) })).not.toBe(keyOf(WEIGHT));
  });

  it('tells a square matrix from its transpose', () => {
    expect(keyOf({ ...WEIGHT, transposed: true })).not.toBe(keyOf(WEIGHT));
  });
});
