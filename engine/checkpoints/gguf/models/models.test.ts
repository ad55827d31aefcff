import fixture from './fixtures/names.json';
import { ggufArchitectureOf } from './gguf-architectures';
import { planGgufTensors } from './plan-gguf-tensors';
import { rotaryFactors } from './rotary-factors';
import { invertRowOrder, reorderRows, rotaryRowOrder } from './rotary-row-order';
import { ggufTensorName, sourceTensorName } from './tensor-names';

// The fixture is made by test/oracles/gguf_names.py.
const SHAPE = {
  layers: 12,
  hiddenSize: 32,
  intermediateSize: 64,
  heads: 4,
  keyValueHeads: 2,
  headSize: 8,
  vocabularySize: 100,
  maxPositions: 64,
  normEpsilon: 1e-5,
  rotary: { theta: 10000, llama3: null },
  tiedHead: true,
};

test.each(['llama', 'qwen2', 'qwen3', 'phi3', 'gemma2', 'gemma3', 'gpt2'] as const)(
  '%s: tensors are called as gguf-py calls them, and back',
  (name) => {
    const architecture = ggufArchitectureOf(name);
    const names = Object.keys(fixture.names[name]);
    expect(Object.fromEntries(names.map((source) => [source, ggufTensorName(architecture, source)]))).toEqual(
      fixture.names[name],
    );
    for (const source of names.filter((source) => fixture.names[name][source as never] !== null)) {
      expect(sourceTensorName(architecture, ggufTensorName(architecture, source) as string)).toBe(source);
    }
    expect(ggufTensorName(architecture, 'model.layers.0.self_attn.rotary_emb.inv_freq')).toBeNull();
    expect(ggufTensorName(architecture, 'constructor.weight')).toBeNull();
  },
);

test('rows of a head alternate between its halves, as in llama.cpp', () => {
  const order = rotaryRowOrder(24, 4);
  expect([...order]).toEqual(fixture.permuted);
  const bytes = Uint8Array.from({ length: 48 }, (_, i) => i);
  expect(reorderRows(reorderRows(bytes, order), invertRowOrder(order))).toEqual(bytes);
});

test.each(fixture.scalings)("Llama 3's factors for heads of $headSize, scaled by $factor", (scaling) => {
  const llama3 = {
    factor: scaling.factor,
    lowFrequencyFactor: scaling.low,
    highFrequencyFactor: scaling.high,
    originalMaxPositions: scaling.original,
  };
  const found = rotaryFactors({ theta: scaling.theta, llama3 }, scaling.headSize) as Float32Array;
  expect(found.length).toBe(scaling.factors.length);
  found.forEach((factor, i) => {
    expect(Math.abs(factor / (scaling.factors[i] as number) - 1)).toBeLessThan(1e-5);
  });
  expect(rotaryFactors({ theta: 10000, llama3: null }, 64)).toBeNull();
});

test('q and k are permuted by their own heads in llama, nothing is in qwen2; vectors are F32; a tied head is left out', () => {
  const tensors = [
    { name: 'lm_head.weight', shape: [100, 32] },
    { name: 'model.layers.3.self_attn.q_proj.weight', shape: [32, 32] },
    { name: 'model.layers.3.self_attn.k_proj.weight', shape: [16, 32] },
    { name: 'model.layers.3.self_attn.k_proj.bias', shape: [16] },
    { name: 'model.layers.3.self_attn.rotary_emb.inv_freq', shape: [4] },
  ];
  const planned = (name: string) =>
    planGgufTensors({
      architecture: ggufArchitectureOf(name),
      shape: SHAPE,
      config: {},
      tensors,
      typeOf: () => 'Q8_0',
    });
  expect(planned('llama').map(({ name, type, rowOrder }) => [name, type, rowOrder])).toEqual([
    ['blk.3.attn_q.weight', 'Q8_0', rotaryRowOrder(32, 4)],
    ['blk.3.attn_k.weight', 'Q8_0', rotaryRowOrder(16, 2)],
    ['blk.3.attn_k.bias', 'F32', rotaryRowOrder(16, 2)],
  ]);
  expect(planned('qwen2').every(({ rowOrder }) => rowOrder === null)).toBe(true);
});

test('what has no name is refused, and so is an architecture without an entry', () => {
  const tensors = [{ name: 'model.layers.0.mlp.secret.weight', shape: [2, 2] }];
  const plan = () =>
    planGgufTensors({
      architecture: ggufArchitectureOf('llama'),
      shape: SHAPE,
      config: {},
      tensors,
      typeOf: () => 'F16',
    });
  expect(plan).toThrow('Tensor "model.layers.0.mlp.secret.weight" has no name');
  expect(() => ggufArchitectureOf('toString')).toThrow(
    'toString has no name in GGUF, or none that Quantloom knows. Supported: llama',
  );
});
