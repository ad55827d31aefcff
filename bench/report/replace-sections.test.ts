import { replaceSections } from './replace-sections';

describe('sections of a document', () => {
  const document = 'before\n\n<!-- measured: a -->\nold\n<!-- end of a -->\n\nafter\n';

  it('are replaced, and nothing else is', () => {
    const expected = 'before\n\n<!-- measured: a -->\n\nnew\n\n<!-- end of a -->\n\nafter\n';
    expect(replaceSections(document, { a: 'new\n' })).toBe(expected);
    expect(replaceSections(expected, { a: 'new' })).toBe(expected);
  });

  it('without marks are an error', () => {
    expect(() => replaceSections(document, { b: '' })).toThrow('<!-- measured: b -->');
  });
});
