import fc from 'fast-check';

type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json };

/** What a broken or hostile file may hold where something else is expected. */
const SURPRISES: readonly Json[] = [
  null,
  true,
  -1,
  0,
  0.5,
  2 ** 31,
  2 ** 53,
  1e308,
  '',
  'x'.repeat(100_000),
  '\ud800',
  '(a+)+$',
  [],
  [[[[[[[[[]]]]]]]]],
  {},
  { __proto__: null, type: 'Sequence' },
];

/** A document in which some values, at any depth, are others or gone. */
export function mutatedJson(document: Json): fc.Arbitrary<Json> {
  const paths = pathsOf(document);
  const mutation = fc.record({
    path: fc.constantFrom(...paths),
    value: fc.option(fc.oneof(fc.constantFrom(...SURPRISES), fc.jsonValue() as fc.Arbitrary<Json>), { nil: undefined }),
  });
  return fc
    .array(mutation, { minLength: 1, maxLength: 3 })
    .map((mutations) => mutations.reduce((json, { path, value }) => replaced(json, path, value), document));
}

/** Of objects and arrays with many members only the first ones: what a vocabulary holds is alike. */
const MEMBERS = 30;

function pathsOf(json: Json, path: readonly string[] = []): (readonly string[])[] {
  if (typeof json !== 'object' || json === null) return [path];
  const members = Object.entries(json).slice(0, MEMBERS);
  return [path, ...members.flatMap(([key, value]) => pathsOf(value, [...path, key]))];
}

/** undefined: without it. */
function replaced(json: Json, [key, ...rest]: readonly string[], value: Json | undefined): Json {
  if (key === undefined) return value ?? null;
  if (typeof json !== 'object' || json === null) return json;
  const member = (json as Record<string, Json>)[key];
  const next = rest.length === 0 ? value : replaced(member ?? null, rest, value);
  if (Array.isArray(json)) {
    return json.flatMap((item: Json, i) => (String(i) === key ? (next === undefined ? [] : [next]) : [item]));
  }
  const { [key]: _, ...others } = json as Record<string, Json>;
  return next === undefined ? others : { ...others, [key]: next };
}
