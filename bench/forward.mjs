// Where the forward pass of a decoder layer stands: seconds, FLOPs done, and their share of what this machine's GEMM does.
// usage: npm run bench:forward -- [MODEL_DIRECTORY] [--tokens 8192] [--length 512] [--threads 2] [--precision bfloat16] [--rounds 3] [--json]
//
// One slice with random activations goes through the four stages of layer 1, XᵀX included, as calibrate-slice runs them; no store.
import { createRequire } from 'node:module';
import { availableParallelism } from 'node:os';
import { parseArgs } from 'node:util';

const require = createRequire(import.meta.url);
const Table = require('cli-table3');
const { InferenceSession, Tensor } = require('onnxruntime-node');
const { createStageRunner } = require('../dist/engine/graphs');
const { GraphBuilder } = require('../dist/engine/graphs/graph-builder');
const { selectKernels } = require('../dist/engine/kernels');
const { architectureOf } = require('../dist/engine/models');
const { openModelDirectory, resolveModelDirectory } = require('../dist/engine/sources');

const { values: flags, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    tokens: { type: 'string', default: '8192' },
    length: { type: 'string', default: '512' },
    threads: { type: 'string', default: String(availableParallelism()) },
    precision: { type: 'string', default: 'bfloat16' },
    kernels: { type: 'string', default: 'native' },
    rounds: { type: 'string', default: '3' },
    json: { type: 'boolean', default: false },
  },
});
const [tokens, length, threads, rounds] = [flags.tokens, flags.length, flags.threads, flags.rounds].map(Number);

const source = await openModelDirectory(resolveModelDirectory(positionals[0] ?? 'demo'));
const architecture = architectureOf(source.config);
const shape = architecture.shape(source.config);
const { stages } = architecture.blocks(shape, (name) => name in source.tensors)[1];
const { precision, kernels } = flags;
const runner = createStageRunner({ architecture: architecture.name, shape, threads, precision, kernels });

const random = (count, size = 1) => Float32Array.from({ length: count }, () => size * (Math.random() - 0.5));
const features = { hidden: shape.hiddenSize, context: shape.heads * shape.headSize, product: shape.intermediateSize };
const activation = (name) => ({
  shape: [tokens / length, length, features[name]],
  data: random(tokens * features[name]),
});
const weights = new Map();
for (const stage of stages) {
  for (const { name, rows, columns, bias } of stage.applies) {
    weights.set(`${name}.weight`, { shape: [rows, columns], data: random(rows * columns, 0.1) });
    if (bias) weights.set(`${name}.bias`, { shape: [rows], data: random(rows) });
  }
  for (const name of Object.values(stage.parameters)) {
    weights.set(name, { shape: [shape.hiddenSize], data: random(shape.hiddenSize) });
  }
}

/** Keys that are multiplied with a query on average: attention goes by blocks of 48 queries natively, of 128 in the graph. */
function keysSeen() {
  let keys = 0;
  const block = selectKernels(kernels).native && precision === 'bfloat16' ? 48 : 128;
  for (let first = 0; first < length; first += block) {
    const end = Math.min(length, first + block);
    keys += (end - first) * end;
  }
  return keys / length;
}

/** Share of XᵀX that is multiplied: tiles of 48 natively, blocks of a sixth in the graph; see engine/graphs/gram.ts. */
function gramShare(columns) {
  const width = selectKernels(kernels).native ? 48 : Math.max(128, Math.ceil(columns / 6));
  const blocks = Math.ceil(columns / width);
  return (blocks + 1) / (2 * blocks);
}

const cases = stages.map((stage) => {
  const linears = stage.applies.reduce((sum, { rows, columns }) => sum + 2 * rows * columns * tokens, 0);
  const scores = stage.name === 'attention' ? 4 * features.context * tokens : 0;
  const columns = stage.captures[0].columns;
  const gram = (done) => 2 * columns * columns * tokens * done;
  const activations = new Map(stage.reads.map((name) => [name, activation(name)]));
  return {
    name: stage.name,
    operations: linears + (scores * (length + 1)) / 2 + gram(0.5 + 0.5 / columns),
    done: linears + scores * keysSeen() + gram(gramShare(columns)),
    run: () => runner.run({ stage, activations, weights, gram: true }),
  };
});
cases.push(await largeProduct());

const times = cases.map(() => []);
for (let round = -1; round < rounds; round++) {
  for (const [i, { run }] of cases.entries()) {
    const before = process.cpuUsage();
    const began = performance.now();
    await run();
    const seconds = (performance.now() - began) / 1000;
    const { user, system } = process.cpuUsage(before);
    if (round >= 0) times[i].push({ seconds, user: user / 1e6, system: system / 1e6 });
  }
}

const median = (values) => values.sort((a, b) => a - b)[Math.floor(values.length / 2)];
const results = cases.map(({ name, operations, done }, i) => {
  const of = (field) => median(times[i].map((time) => time[field]));
  return {
    name,
    gigaflops: operations / 1e9,
    gigaflopsDone: (done ?? operations) / 1e9,
    seconds: of('seconds'),
    user: of('user'),
    system: of('system'),
  };
});
const speed = ({ gigaflops, seconds }) => gigaflops / seconds;
const peak = speed(results.at(-1));
if (flags.json) {
  process.stdout.write(`${JSON.stringify({ tokens, length, threads, precision, results })}\n`);
} else {
  const table = new Table({ head: ['stage', 'GFLOP needed', 's', 'user s', 'system s', 'GFLOPS', 'of GEMM'] });
  for (const result of results) {
    const { name, gigaflops, seconds, user, system } = result;
    const share = `${((100 * speed(result)) / peak).toFixed(0)} %`;
    table.push([name, ...[gigaflops, seconds, user, system, speed(result)].map((x) => x.toPrecision(3)), share]);
  }
  process.stdout.write(`${table}\n`);
}

/** What the machine can do at best: one product of 4,096 x 2,048 x 2,048 after another. */
async function largeProduct() {
  const [m, n, k] = [4096, 2048, 2048];
  const graph = new GraphBuilder('product');
  graph.input('x', [m, k]);
  graph.input('w', [n, k]);
  graph.output('y', graph.node('Gemm', ['x', 'w'], { transB: 1n }), [m, n]);
  const session = await InferenceSession.create(graph.build(), { intraOpNumThreads: threads });
  const feeds = { x: new Tensor('float32', random(m * k), [m, k]), w: new Tensor('float32', random(n * k), [n, k]) };
  const y = new Tensor('float32', new Float32Array(m * n), [m, n]);
  return { name: 'GEMM alone', operations: 2 * m * n * k, run: () => session.run(feeds, { y }) };
}
