import type { ModelShape } from '../../../models';
import { text, uint32 } from '../container/gguf-value';
import type { PlacedTensor } from '../container/layout-gguf';
import { configOfMetadata } from './config-of-metadata';
import { ggufArchitectureNamed, ggufArchitectureOf } from './gguf-architectures';
import { planGgufTensors } from './plan-gguf-tensors';
import { sourceTensorsOf } from './source-tensors-of';
import { ggufTensorName } from './tensor-names';

const EXPERTS = {
  ...{ count: 12, perToken: 2, intermediateSize: 32, sharedIntermediateSize: 0, normalized: true },
  layers: [true, true],
};
const SHAPE: ModelShape = {
  ...{ layers: 2, hiddenSize: 64, intermediateSize: 64, heads: 4, keyValueHeads: 2, headSize: 16 },
  ...{ vocabularySize: 100, maxPositions: 64, normEpsilon: 1e-5, rotary: { theta: 10000, llama3: null } },
  ...{ tiedHead: false, experts: EXPERTS },
};
const upOf = (layer: number, expert: number) => `model.layers.${layer}.mlp.experts.${expert}.up_proj.weight`;
const named = (names: readonly string[]) => names.map((name) => ({ name, shape: [32, 64] }));
// As they are sorted in a source.
const SORTED = [0, 1, 10, 11, 2, 3, 4, 5, 6, 7, 8, 9];
const sorted = [0, 1].flatMap((layer) => [
  ...SORTED.map((expert) => upOf(layer, expert)),
  `model.layers.${layer}.self_attn.q_proj.weight`,
]);
const plan = (
  tensors: Parameters<typeof planGgufTensors>[0]['tensors'],
  typeOf: (name: string) => 'Q8_0' | 'F16' = () => 'Q8_0',
) => planGgufTensors({ architecture: ggufArchitectureOf('qwen3_moe'), shape: SHAPE, config: {}, tensors, typeOf });

test('experts of a layer are a stack in their order, where the first of them stands', () => {
  const found = plan(named(sorted));
  expect(found.map(({ name, shape, type }) => [name, shape, type])).toEqual([
    ['blk.0.ffn_up_exps.weight', [12, 32, 64], 'Q8_0'],
    ['blk.0.attn_q.weight', [32, 64], 'Q8_0'],
    ['blk.1.ffn_up_exps.weight', [12, 32, 64], 'Q8_0'],
    ['blk.1.attn_q.weight', [32, 64], 'Q8_0'],
  ]);
  expect(found[2]?.experts).toEqual(Array.from({ length: 12 }, (_, expert) => upOf(1, expert)));
});

test('a stack that is not whole, or of several types or shapes, is refused', () => {
  const without = sorted.filter((name) => name !== upOf(1, 7));
  expect(() => plan(named(without))).toThrow(
    'blk.1.ffn_up_exps.weight are one tensor in GGUF: expert 7 of 12 is missing',
  );
  expect(() => plan(named([...sorted, upOf(1, 12)]))).toThrow('there are 13 experts, not 12');
  expect(() => plan(named(sorted), (name) => (name === upOf(0, 2) ? 'F16' : 'Q8_0'))).toThrow(
    `${upOf(0, 0)} is Q8_0 and ${upOf(0, 2)} F16; they need one type`,
  );
  const other = named(sorted).map((tensor) => (tensor.name === upOf(0, 3) ? { ...tensor, shape: [64, 64] } : tensor));
  expect(() => plan(other)).toThrow(`${upOf(0, 3)} has the shape [64, 64], others [32, 64]`);
});

test('routers are float32, whatever is kept', () => {
  const tensors = [
    { name: 'model.layers.0.mlp.gate.weight', shape: [12, 64] },
    { name: 'model.layers.0.self_attn.q_norm.weight', shape: [16] },
  ];
  expect(plan(tensors, () => 'F16').map(({ name, type }) => [name, type])).toEqual([
    ['blk.0.ffn_gate_inp.weight', 'F32'],
    ['blk.0.attn_q_norm.weight', 'F32'],
  ]);
});

// Each is what llama.cpp does: tried with models that were written all the same.
test.each<[string, string, Partial<ModelShape>, readonly string[], string]>([
  [
    'qwen3_moe',
    'weights as they are',
    { experts: { ...EXPERTS, normalized: false } },
    [],
    'always divides the weights',
  ],
  ['qwen2_moe', 'weights that are divided', {}, [], 'never divides the weights'],
  ['mixtral', 'a dense layer', { experts: { ...EXPERTS, layers: [true, false] } }, [], 'layer 1 has no experts'],
  [
    'qwen3_moe',
    'a bias behind attention',
    {},
    ['model.layers.1.self_attn.o_proj.bias'],
    'no room for model.layers.1.self_attn.o_proj.bias',
  ],
  [
    'qwen2_moe',
    'a tied head',
    { tiedHead: true, experts: { ...EXPERTS, normalized: false } },
    [],
    'wants one of its own here',
  ],
  [
    'qwen2_moe',
    'wide heads',
    { headSize: 32, experts: { ...EXPERTS, normalized: false } },
    [],
    'have 128 features together',
  ],
])('%s: refused with %s', (name, _, changes, tensors, message) => {
  const architecture = ggufArchitectureOf(name);
  const options = {
    architecture,
    shape: { ...SHAPE, ...changes },
    config: {},
    tensors: named(tensors),
    typeOf: () => 'F16' as const,
  };
  expect(() => planGgufTensors(options)).toThrow(message);
});

describe('read', () => {
  const tensor = (name: string, shape: readonly number[], bytes: number): PlacedTensor => ({
    ...{ name, shape, bytes, type: 'Q8_0', offset: 1000 },
  });

  test('a stack is the matrices of its experts, each at its place', () => {
    const found = sourceTensorsOf(
      ggufArchitectureNamed('llama'),
      tensor('blk.5.ffn_down_exps.weight', [3, 32, 64], 6528),
    );
    expect(found.map(({ name, place }) => [name, place.shape, place.offset, place.bytes])).toEqual(
      [0, 1, 2].map((expert) => [
        ...[`model.layers.5.block_sparse_moe.experts.${expert}.w2.weight`, [32, 64]],
        ...[1000 + 2176 * expert, 2176],
      ]),
    );
    for (const { name } of found)
      expect(ggufTensorName(ggufArchitectureOf('mixtral'), name)).toBe('blk.5.ffn_down_exps.weight');
  });

  test('what weighs the shared expert is a row, also where it is a vector in the file', () => {
    const architecture = ggufArchitectureNamed('qwen2moe');
    for (const shape of [[64], [1, 64]]) {
      const [found] = sourceTensorsOf(architecture, tensor('blk.0.ffn_gate_inp_shexp.weight', shape, 256));
      expect([found?.name, found?.place.shape]).toEqual(['model.layers.0.mlp.shared_expert_gate.weight', [1, 64]]);
    }
    const fused = tensor('blk.0.ffn_gate_up_exps.weight', [2, 64, 64], 8704);
    expect(() => sourceTensorsOf(architecture, fused)).toThrow('gate and up of all experts in one tensor');
  });

  const header = (architecture: string, numbers: Readonly<Record<string, number>>) =>
    configOfMetadata(
      new Map([
        ['general.architecture', text(architecture)],
        ...Object.entries(numbers).map(([key, value]) => [`${architecture}.${key}`, uint32(value)] as const),
      ]),
      new Map([['token_embd.weight', { shape: [100, 64] }]]),
    );
  const counts = { feed_forward_length: 96, expert_count: 8, expert_used_count: 2 };

  test('llama with experts is Mixtral', () => {
    expect(header('llama', counts)).toMatchObject({
      ...{ architectures: ['MixtralForCausalLM'], model_type: 'mixtral', intermediate_size: 96 },
      ...{ num_local_experts: 8, num_experts_per_tok: 2 },
    });
    expect(header('llama', { feed_forward_length: 96 })).toMatchObject({ architectures: ['LlamaForCausalLM'] });
  });

  test("widths and whether weights are divided are llama.cpp's where the header says nothing", () => {
    expect(header('qwen2moe', counts)).toMatchObject({
      ...{ model_type: 'qwen2_moe', num_experts: 8, num_experts_per_tok: 2, norm_topk_prob: false },
      ...{ moe_intermediate_size: 48, shared_expert_intermediate_size: 96 },
    });
    const widths = { expert_feed_forward_length: 32, expert_shared_feed_forward_length: 160 };
    expect(header('qwen2moe', { ...counts, ...widths })).toMatchObject({
      ...{ moe_intermediate_size: 32, shared_expert_intermediate_size: 160 },
    });
    expect(header('qwen3moe', counts)).toMatchObject({ moe_intermediate_size: 48, norm_topk_prob: true });
  });
});
