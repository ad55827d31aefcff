import { QuantloomError } from '../../../spec';

interface Piece {
  readonly id: number;
  readonly text: string;
  readonly score: number;
}

/** Every cut of a piece is tried; real ones have at most some dozen letters. */
const MAX_LETTERS = 1024;

/**
 * SentencePiece joins the neighbours whose piece has the best score, so every way to make a piece of two others is a merge that ranks by
 * the piece's score; among equals longer parts come first, as in transformers' conversion of such tokenizers.
 *
 * @throws QuantloomError InvalidModel for a piece of more than 1024 letters.
 */
export function mergesByScore(pieces: readonly Piece[]): [string, string][] {
  const ids = new Map(pieces.map(({ text, id }) => [text, id]));
  const merges = pieces.flatMap(({ text, score }) => {
    if (text.length > MAX_LETTERS) throw tooLong(text.length);
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

function tooLong(letters: number): QuantloomError {
  return new QuantloomError(
    'InvalidModel',
    `tokenizer.ggml.tokens has a token of ${letters} letters, over the limit of ${MAX_LETTERS}. Put tokenizer.json of the file's source beside it.`,
    { details: { letters } },
  );
}
