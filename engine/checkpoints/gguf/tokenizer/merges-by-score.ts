interface Piece {
  readonly id: number;
  readonly text: string;
  readonly score: number;
}

/**
 * SentencePiece joins the neighbours whose piece has the best score, so every way to make a piece of two others is a merge that ranks by
 * the piece's score; among equals longer parts come first, as in transformers' conversion of such tokenizers.
 */
export function mergesByScore(pieces: readonly Piece[]): [string, string][] {
  const ids = new Map(pieces.map(({ text, id }) => [text, id]));
  const merges = pieces.flatMap(({ text, score }) => {
    const letters = [...text];
    return letters.slice(1).flatMap((_, cut) => {
      const left = letters.slice(0, cut + 1);
      const right = letters.slice(cut + 1);
      const [from, to] = [ids.get(left.join('')), ids.get(right.join(''))];
      if (from === undefined || to === undefined) return [];
      return [{ left: left.join(''), right: right.join(''), lengths: [left.length, right.length], score, from, to }];
    });
  });
  merges.sort(
    (a, b) =>
      b.score - a.score ||
      (b.lengths[0] as number) - (a.lengths[0] as number) ||
      (b.lengths[1] as number) - (a.lengths[1] as number) ||
      a.from - b.from ||
      a.to - b.to,
  );
  return merges.map(({ left, right }) => [left, right]);
}
