/**
 * Puts generated text between the marks `<!-- measured: NAME -->` and `<!-- end of NAME -->` of a document; what stands there is
 * replaced.
 *
 * @throws Error when a mark is missing.
 */
export function replaceSections(document: string, sections: Readonly<Record<string, string>>): string {
  let text = document;
  for (const [name, content] of Object.entries(sections)) {
    const [begin, end] = [`<!-- measured: ${name} -->`, `<!-- end of ${name} -->`];
    const [from, to] = [text.indexOf(begin), text.indexOf(end)];
    if (from === -1 || to < from) throw new Error(`The document lacks ${begin} or, after it, ${end}`);
    text = `${text.slice(0, from + begin.length)}\n\n${content.trim()}\n\n${text.slice(to)}`;
  }
  return text;
}
