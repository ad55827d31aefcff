/**
 * A Hadamard matrix by one of Paley's constructions (R. Paley, On orthogonal matrices, 1933) over the integers modulo a prime q:
 * of order q + 1 for q = 3 mod 4, of order 2 (q + 1) for q = 1 mod 4. With Sylvester's doubling they give most orders that
 * transformers have: 12, 20, 28, 36, 44, 60, 108 ... times a power of two.
 *
 * @returns `[order, order]`, entries 1 and -1, H Hᵀ = order · I; null when neither construction has this order.
 */
export function paleyHadamard(order: number): Int8Array | null {
  if (order === 1) return Int8Array.of(1);
  if (order === 2) return Int8Array.of(1, 1, 1, -1);
  const first = order - 1;
  if (first % 4 === 3 && isPrime(first)) return firstConstruction(first);
  const second = order / 2 - 1;
  if (second % 4 === 1 && isPrime(second)) return secondConstruction(second);
  return null;
}

/** H = I + S, where S is the skew matrix that borders Q with 1 above and -1 on the left. */
function firstConstruction(q: number): Int8Array {
  const order = q + 1;
  const jacobsthal = jacobsthalMatrix(q);
  const matrix = new Int8Array(order * order);
  for (let i = 0; i < order; i++) {
    for (let j = 0; j < order; j++) {
      const inner = i > 0 && j > 0 ? (jacobsthal[(i - 1) * q + j - 1] as number) : Math.sign(j - i);
      matrix[i * order + j] = inner + (i === j ? 1 : 0);
    }
  }
  return matrix;
}

/** The symmetric conference matrix that borders Q with 1; its zeros become [1 -1; -1 -1], its signs that many [1 1; 1 -1]. */
function secondConstruction(q: number): Int8Array {
  const half = q + 1;
  const order = 2 * half;
  const jacobsthal = jacobsthalMatrix(q);
  const matrix = new Int8Array(order * order);
  for (let i = 0; i < half; i++) {
    for (let j = 0; j < half; j++) {
      const sign = i > 0 && j > 0 ? (jacobsthal[(i - 1) * q + j - 1] as number) : i === j ? 0 : 1;
      const tile = sign === 0 ? [1, -1, -1, -1] : [sign, sign, sign, -sign];
      tile.forEach((value, at) => {
        matrix[(2 * i + (at >> 1)) * order + 2 * j + (at & 1)] = value;
      });
    }
  }
  return matrix;
}

/** `[q, q]`: the quadratic character of i - j: 0 on the diagonal, 1 for squares modulo q, -1 for the others. */
function jacobsthalMatrix(q: number): Int8Array {
  const character = new Int8Array(q).fill(-1);
  character[0] = 0;
  for (let x = 1; x < q; x++) character[(x * x) % q] = 1;
  return Int8Array.from({ length: q * q }, (_, at) => {
    const difference = Math.floor(at / q) - (at % q);
    return character[(difference + q) % q] as number;
  });
}

function isPrime(value: number): boolean {
  if (!Number.isInteger(value) || value < 2) return false;
  for (let divisor = 2; divisor * divisor <= value; divisor++) if (value % divisor === 0) return false;
  return true;
}
