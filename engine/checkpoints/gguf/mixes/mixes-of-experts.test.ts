import fixture from './fixtures/mixes-of-experts.json';
import { MIXES } from './gguf-mix';
import { typeInMix } from './type-in-mix';

// The fixture is made by test/oracles/gguf_mixes.py: llama_model_quantize of libllama, of models with experts.
const KEPT = /ffn_gate_inp/;
const cases = fixture.cases.map((entry) => ({
  ...entry,
  title: `${entry.mix}${entry.calibrated ? ' with importance' : ''}: ${entry.architecture}, ${entry.layers} layers, ${entry.experts} experts`,
}));

test.each(cases)('$title: the types that llama.cpp chooses', (entry) => {
  const { architecture, layers, columns, downColumns, tiedHead, calibrated, used, types } = entry;
  const parts = [...fixture.parts, ...(entry.sharedExpert ? fixture.sharedParts : [])];
  const names = [
    ...(tiedHead ? ['token_embd.weight'] : ['token_embd.weight', 'output.weight']),
    ...Array.from({ length: layers }, (_, layer) => parts.map((part) => `blk.${layer}.${part}.weight`)).flat(),
  ];
  expect(names.length).toBe(types.length);
  const shape = { ...entry, experts: { count: entry.experts } };
  const model = { mix: MIXES[entry.mix as keyof typeof MIXES], architecture, shape, tiedHead, calibrated };
  const found = names.map((name) => {
    if (KEPT.test(name)) return [name, 'F32'];
    return [name, typeInMix(model, name, name.includes('ffn_down') ? downColumns : columns)];
  });
  expect(found).toEqual(names.map((name, i) => [name, used[types.charCodeAt(i) - 97]]));
});
