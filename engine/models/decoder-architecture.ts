import type { Architecture, Block, ExpertShape, LinearRole, LinearShape, ModelShape, Stage } from './architecture';
import { decoderRotations } from './decoder-rotations';
import { decoderShape } from './decoder-shape';
import type { BranchTable, DecoderTable, ExpertsTable, LinearEntry } from './decoder-table';

type Has = (tensor: string) => boolean;

/** The architecture that a table describes. Its stages are those of docs/architecture.md. */
export function decoderArchitecture(
  table: DecoderTable,
  publishedName: Architecture['publishedName'] = (tensor) => tensor,
): Architecture {
  const embedding = `${table.embedding}.weight`;
  const positions = table.positions === null ? null : `${table.positions}.weight`;
  const finalNorm = `${table.finalNorm}.weight`;
  const head = `${table.head}.weight`;
  const blocks = (shape: ModelShape, has: Has) => decoderBlocks(table, shape, has);
  const architecture: Architecture = {
    name: table.name,
    modelClass: table.modelClass,
    dtypes: ['F32', 'F16', 'BF16'],
    embedding,
    positions,
    finalNorm,
    head,
    norm: table.norm,
    buffers: table.buffers ?? null,
    publishedName,
    operators: {
      'attention-input': 'add-norm',
      attention: table.attention.operator,
      'mlp-input': 'add-norm',
      mlp: table.mlp.operator,
      ...(table.experts && { 'experts-input': 'add-norm-route' as const, experts: 'experts' as const }),
      'head-input': 'add-norm',
    },

    accepts(config) {
      const named = Array.isArray(config.architectures) ? config.architectures[0] : undefined;
      return named === undefined ? config.model_type === table.modelType : named === table.modelClass;
    },

    named(has) {
      const { prefix, ...rest } = table;
      return prefix === undefined || !has(embedding.slice(prefix.length))
        ? architecture
        : decoderArchitecture(withoutPrefix(rest, prefix), (tensor) => (tensor === head ? tensor : prefix + tensor));
    },

    shape: (config) => decoderShape(config, table.name, table.config),

    outside: ({ vocabularySize, maxPositions, positionOffset = 0, hiddenSize }) =>
      new Map([
        [embedding, [vocabularySize, hiddenSize]],
        ...(positions === null ? [] : [[positions, [positionOffset + maxPositions, hiddenSize]] as const]),
        ...normTensors(table, table.finalNorm, hiddenSize),
      ]),

    blocks,

    rotations: (shape, has) =>
      table.rotatable ? decoderRotations(shape, blocks(shape, has), { embedding, finalNorm, head }) : null,
  };
  return architecture;
}

function withoutPrefix(table: DecoderTable, prefix: string): DecoderTable {
  const bare = (module: string) => module.slice(prefix.length);
  return {
    ...table,
    embedding: bare(table.embedding),
    positions: table.positions === null ? null : bare(table.positions),
    layers: bare(table.layers),
    finalNorm: bare(table.finalNorm),
  };
}

function decoderBlocks(table: DecoderTable, shape: ModelShape, has: Has): readonly Block[] {
  const layers = Array.from({ length: shape.layers }, (_, index) => decoderLayer(table, index, shape, has));
  return [...layers, headBlock(table, shape, has)];
}

function decoderLayer(table: DecoderTable, index: number, shape: ModelShape, has: Has): Block {
  const name = `${table.layers}.${index}`;
  const attention = branchOf(table, table.attention, name, shape, has);
  const attends = shape.attention?.[index];
  const attending: readonly Stage[] = [
    {
      name: 'attention-input',
      ...afterLayer(table, index - 1, shape, has),
      parameters: { ...attention.norms, ...(index > 0 && outputNorm(table.mlp, `${table.layers}.${index - 1}`)) },
      captures: attention.inputs,
      leaves: ['hidden'],
      changes: index === 0 ? [] : ['hidden'],
    },
    {
      name: 'attention',
      reads: ['hidden'],
      applies: attention.inputs,
      parameters: { ...attention.norms, ...attention.innerNorms },
      ...(attends && { attention: attends }),
      captures: [attention.output],
      leaves: ['hidden', 'context'],
      changes: ['context'],
    },
  ];
  const feeding = hasExperts(shape, index) ? expertStages : mlpStages;
  const { stages, tensors } = feeding(table, name, shape, has, attention.output);
  return { name, stages: [...attending, ...stages], tensors: new Map([...attention.tensors, ...tensors]) };
}

interface FeedForward {
  readonly stages: readonly Stage[];
  readonly tensors: readonly (readonly [string, readonly number[]])[];
}

function mlpStages(table: DecoderTable, name: string, shape: ModelShape, has: Has, before: LinearShape): FeedForward {
  const mlp = branchOf(table, table.mlp, name, shape, has);
  const stages: readonly Stage[] = [
    {
      name: 'mlp-input',
      reads: ['hidden', 'context'],
      applies: [before],
      parameters: { ...mlp.norms, ...outputNorm(table.attention, name) },
      captures: mlp.inputs,
      leaves: ['hidden'],
      changes: ['hidden'],
    },
    {
      name: 'mlp',
      reads: ['hidden'],
      applies: mlp.inputs,
      parameters: { ...mlp.norms, ...mlp.innerNorms },
      captures: [mlp.output],
      leaves: ['hidden', 'product'],
      changes: ['product'],
    },
  ];
  return { stages, tensors: mlp.tensors };
}

function expertStages(table: DecoderTable, name: string, shape: ModelShape, _: Has, before: LinearShape): FeedForward {
  const norm = `${name}.${table.mlp.norm}`;
  const norms = normParameters(table, norm);
  const { inputs, outputs } = expertLinears(table, name, shape);
  const { router, shared } = table.experts as ExpertsTable;
  const routers = {
    router: `${name}.${router}.weight`,
    ...(shared && { 'shared-router': `${name}.${shared.router}.weight` }),
  };
  const stages: readonly Stage[] = [
    {
      name: 'experts-input',
      reads: ['hidden', 'context'],
      applies: [before],
      parameters: { ...norms, ...routers, ...outputNorm(table.attention, name) },
      captures: inputs,
      leaves: ['hidden', 'routing'],
      changes: ['hidden', 'routing'],
    },
    {
      name: 'experts',
      reads: ['hidden', 'routing'],
      applies: inputs,
      parameters: norms,
      captures: outputs,
      leaves: ['hidden', 'routing', 'expert-products'],
      changes: ['expert-products'],
    },
  ];
  const { count } = shape.experts as ExpertShape;
  return {
    stages,
    tensors: [
      ...normTensors(table, norm, shape.hiddenSize),
      [routers.router, [count, shape.hiddenSize]],
      ...(routers['shared-router'] ? [[routers['shared-router'], [1, shape.hiddenSize]] as const] : []),
      ...tensorsOf([...inputs, ...outputs]),
    ],
  };
}

/** Expert after expert, the shared one last. */
function expertLinears({ experts: table }: DecoderTable, layer: string, shape: ModelShape) {
  const { modules, projections, shared } = table as ExpertsTable;
  const { count, intermediateSize, sharedIntermediateSize } = shape.experts as ExpertShape;
  const { hiddenSize } = shape;
  const linearsOf = (module: string, size: number, expert?: number) => {
    const of = (role: 'gate' | 'up' | 'down', rows: number, columns: number): LinearShape => ({
      name: `${layer}.${module}.${projections[role]}`,
      role,
      ...(expert !== undefined && { expert }),
      rows,
      columns,
      bias: false,
    });
    return {
      inputs: [of('gate', size, hiddenSize), of('up', size, hiddenSize)],
      output: of('down', hiddenSize, size),
    };
  };
  const all = Array.from({ length: count }, (_, i) => linearsOf(`${modules}.${i}`, intermediateSize, i));
  if (shared) all.push(linearsOf(shared.module, sharedIntermediateSize));
  return { inputs: all.flatMap(({ inputs }) => inputs), outputs: all.map(({ output }) => output) };
}

function hasExperts({ experts }: ModelShape, layer: number): boolean {
  return experts?.layers[layer] ?? false;
}

/** What the first stage behind a layer reads and applies; behind nothing (-1) only the hidden state. */
function afterLayer(table: DecoderTable, index: number, shape: ModelShape, has: Has): Pick<Stage, 'reads' | 'applies'> {
  if (index < 0) return { reads: ['hidden'], applies: [] };
  const layer = `${table.layers}.${index}`;
  if (hasExperts(shape, index)) {
    return { reads: ['hidden', 'routing', 'expert-products'], applies: expertLinears(table, layer, shape).outputs };
  }
  const { output } = table.mlp;
  return { reads: ['hidden', 'product'], applies: [linear(`${layer}.${output.module}`, output, shape, has)] };
}

/** The final norm and a tied head belong to no block: they are never quantized. */
function headBlock(table: DecoderTable, shape: ModelShape, has: Has): Block {
  const head = linear(table.head, { role: 'head', module: table.head, bias: 'stored' }, shape, has);
  const headInput: Stage = {
    name: 'head-input',
    ...afterLayer(table, shape.layers - 1, shape, has),
    parameters: {
      ...normParameters(table, table.finalNorm),
      ...outputNorm(table.mlp, `${table.layers}.${shape.layers - 1}`),
    },
    captures: [head],
    leaves: ['hidden'],
    changes: ['hidden'],
  };
  return { name: table.head, stages: [headInput], tensors: new Map(shape.tiedHead ? [] : tensorsOf([head])) };
}

function branchOf(table: DecoderTable, branch: BranchTable, layer: string, shape: ModelShape, has: Has) {
  const norm = `${layer}.${branch.norm}`;
  const inputs = branch.inputs.map((entry) => linear(`${layer}.${entry.module}`, entry, shape, has));
  const output = linear(`${layer}.${branch.output.module}`, branch.output, shape, has);
  const innerNorms = Object.fromEntries(
    Object.entries(branch.innerNorms ?? {}).map(([role, module]) => [role, `${layer}.${module}.weight`]),
  );
  const tensors: readonly (readonly [string, readonly number[]])[] = [
    ...normTensors(table, norm, shape.hiddenSize),
    ...Object.values(innerNorms).map((name) => [name, [shape.headSize]] as const),
    ...Object.values(outputNorm(branch, layer)).map((name) => [name, [shape.hiddenSize]] as const),
    ...tensorsOf([...inputs, output]),
  ];
  return { norms: normParameters(table, norm), innerNorms, inputs, output, tensors };
}

/** A parameter of the stage that adds what the branch leaves. */
function outputNorm(branch: BranchTable, layer: string): Readonly<Record<string, string>> {
  return branch.outputNorm === undefined ? {} : { 'branch-norm': `${layer}.${branch.outputNorm}.weight` };
}

function normParameters({ norm }: DecoderTable, module: string): Readonly<Record<string, string>> {
  return norm === 'layer-norm'
    ? { norm: `${module}.weight`, 'norm.bias': `${module}.bias` }
    : { norm: `${module}.weight` };
}

function normTensors(table: DecoderTable, module: string, size: number): (readonly [string, readonly number[]])[] {
  return Object.values(normParameters(table, module)).map((name) => [name, [size]] as const);
}

function linear(name: string, { role, bias, transposed }: LinearEntry, shape: ModelShape, has: Has): LinearShape {
  const [rows, columns] = linearSize(role, shape);
  const biased = bias === 'stored' ? has(`${name}.bias`) : bias === 'always';
  return { name, role, rows, columns, bias: biased, ...(transposed && { transposed }) };
}

function linearSize(role: LinearRole, shape: ModelShape): readonly [rows: number, columns: number] {
  const { hiddenSize, intermediateSize, headSize, vocabularySize } = shape;
  const queries = shape.heads * headSize;
  const keys = shape.keyValueHeads * headSize;
  const sizes = {
    q: [queries, hiddenSize],
    k: [keys, hiddenSize],
    v: [keys, hiddenSize],
    qkv: [queries + 2 * keys, hiddenSize],
    o: [hiddenSize, queries],
    gate: [intermediateSize, hiddenSize],
    up: [intermediateSize, hiddenSize],
    'gate-up': [2 * intermediateSize, hiddenSize],
    down: [hiddenSize, intermediateSize],
    head: [vocabularySize, hiddenSize],
  } as const;
  return sizes[role];
}

/** As the source stores them. */
function tensorsOf(linears: readonly LinearShape[]): readonly (readonly [string, readonly number[]])[] {
  return linears.flatMap(({ name, rows, columns, bias, transposed }) => [
    [`${name}.weight`, transposed ? [columns, rows] : [rows, columns]] as const,
    ...(bias ? [[`${name}.bias`, [rows]] as const] : []),
  ]);
}
