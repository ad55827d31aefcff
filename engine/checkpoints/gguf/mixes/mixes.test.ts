import fixture from './fixtures/mixes.json';
import { MIXES } from './gguf-mix';
import { typeInMix } from './type-in-mix';

// The fixture is made by test/oracles/gguf_mixes.py: llama_model_quantize of libllama.
const cases = fixture.cases.map((entry) => ({
  ...entry,
  title: `${entry.mix}${entry.calibrated ? ' with importance' : ''}: ${entry.architecture}, ${entry.layers} layers, ${entry.keyValueHeads} of ${entry.heads} heads, rows of ${entry.columns} and ${entry.downColumns}`,
}));

test.each(cases)('$title: the types that llama.cpp chooses', (entry) => {
  const { architecture, layers, columns, downColumns, tiedHead, calibrated, used, types } = entry;
  const names = [
    ...(tiedHead ? ['token_embd.weight'] : ['token_embd.weight', 'output.weight']),
    ...Array.from({ length: layers }, (_, layer) => fixture.parts.map((part) => `blk.${layer}.${part}.weight`)).flat(),
  ];
  expect(names.length).toBe(types.length);
  const model = { mix: MIXES[entry.mix as keyof typeof MIXES], architecture, shape: entry, tiedHead, calibrated };
  const found = names.map((name) => [name, typeInMix(model, name, name.includes('ffn_down') ? downColumns : columns)]);
  expect(found).toEqual(names.map((name, i) => [name, used[types.charCodeAt(i) - 97]]));
});

test('rows that are no multiple of 32 have no type', () => {
  const shape = { layers: 4, heads: 4, keyValueHeads: 4 };
  const model = { mix: MIXES.q4_k_m, architecture: 'llama', shape, tiedHead: true, calibrated: true };
  expect(typeInMix(model, 'blk.0.attn_q.weight', 80)).toBeNull();
});
