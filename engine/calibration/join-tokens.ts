/** The tokens of all parts, one after the other. */
export function joinTokens(parts: readonly ArrayLike<number>[]): Int32Array {
  const tokens = new Int32Array(parts.reduce((sum, { length }) => sum + length, 0));
  let start = 0;
  for (const part of parts) {
    tokens.set(part, start);
    start += part.length;
  }
  return tokens;
}
