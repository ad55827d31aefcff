/**
 * The kernels around the solver side by side: XᵀX, products of linears, merged Hessians, 16-bit floats, dequantization, packing; native, TypeScript,
 * onnxruntime, and NumPy and torch where a Python with them is given.
 *
 *     QUANTLOOM_PEERS_PYTHON=.../python npm run bench:array-kernels -- [--threads 2] [--rounds 7] [--columns 576,1536]
 *                                                                     [--outputs 1536,576] [--only 'XᵀX|linear']
 *                                                                     [--tokens 4096] [--clock wall|cpu] [--json]
 *
 * The variants take turns, round after round; the table has the median of each, and how many times longer than native it takes.
 * XᵀX and linears have as many threads as are asked for; conversions and packing have one everywhere but in torch.
 */
import { availableParallelism, cpus } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { InferenceSession, Tensor } from 'onnxruntime-node';
import { bitPlanes } from '../engine/checkpoints/gptq/layout';
import { packWords, unpackWords } from '../engine/checkpoints/pack-words';
import { GraphBuilder } from '../engine/graphs/graph-builder';
import { createGram, type KernelChoice, type NativeAddon, preferKernels, selectKernels } from '../engine/kernels';
import { decodeBfloat16, decodeFloat16, encodeBfloat16, encodeFloat16 } from '../engine/numbers';
import { dequantize, mergeHessians } from '../engine/quantizers';
import { type Clock, measure, measureWith, Python, type Result, tableOf, timed, type Variant } from './side-by-side';

const { values: flags } = parseArgs({
  options: {
    threads: { type: 'string', default: String(availableParallelism()) },
    rounds: { type: 'string', default: '7' },
    columns: { type: 'string', default: '576,1536' },
    tokens: { type: 'string', default: '4096' },
    /** Rows of a linear's weight for each of the columns; default as many as columns. */
    outputs: { type: 'string' },
    /** A pattern of kernels. */
    only: { type: 'string', default: '' },
    clock: { type: 'string', default: 'wall' },
    json: { type: 'boolean', default: false },
  },
});
const [threads, rounds, tokens] = [flags.threads, flags.rounds, flags.tokens].map(Number) as [number, number, number];
const GROUP = 64;
/** Slices of one merged Hessian. */
const SLICES = 4;

const numbers = (count: number) => Float32Array.from({ length: count }, (_, i) => Math.sin(0.37 * i * i + i));

/** The whole product: what a graph does that knows nothing of symmetry. */
async function inOnnxruntime(x: Float32Array, columns: number): Promise<Variant> {
  const graph = new GraphBuilder('gram');
  graph.input('x', [tokens, columns]);
  graph.output('y', graph.node('Gemm', ['x', 'x'], { transA: 1n }), [columns, columns]);
  const session = await InferenceSession.create(graph.build(), { intraOpNumThreads: threads });
  const feeds = { x: new Tensor('float32', x, [tokens, columns]) };
  const y = new Tensor('float32', new Float32Array(columns * columns), [columns, columns]);
  return timed(
    () => session.run(feeds, { y }),
    () => null,
  );
}

async function measureGram(columns: number, native: NativeAddon | null, python: Python | null): Promise<Result> {
  const x = numbers(tokens * columns);
  const inRust = (precision: 'float32' | 'bfloat16') => {
    const gram = createGram({ columns, precision, threads, native });
    return timed(
      () => gram.add(x),
      () => null,
    );
  };
  return measure(
    { kernel: 'XᵀX', rows: tokens, columns, rounds },
    {
      ...(native && { native: inRust('float32'), 'native bfloat16': inRust('bfloat16') }),
      onnxruntime: await inOnnxruntime(x, columns),
      ...python?.variants(['numpy', 'torch float32', 'torch bfloat16'], { kernel: 'gram', rows: tokens, columns }),
    },
  );
}

/** Packing is not counted: a weight is packed once for all batches. */
async function measureLinear(columns: number, outputs: number, native: NativeAddon | null, python: Python | null) {
  const [x, weight] = [numbers(tokens * columns), numbers(outputs * columns)];
  const inRust = (addon: NativeAddon) => {
    const packed = new Uint32Array(addon.packedLength(outputs, columns));
    addon.packLinear(weight, outputs, columns, packed);
    const y = new Float32Array(tokens * outputs);
    return timed(
      () => addon.multiplyLinear(x, columns, packed, outputs, null, y, threads),
      () => null,
    );
  };
  const task = { kernel: 'linear', rows: tokens, columns, outputs };
  return measure(
    { kernel: `linear to ${outputs}`, rows: tokens, columns, rounds },
    {
      ...(native && { native: inRust(native) }),
      ...python?.variants(['numpy', 'torch float32', 'torch bfloat16'], task),
    },
  );
}

function measureMerge(columns: number, native: NativeAddon | null, python: Python | null): Promise<Result> {
  const partials = Array.from({ length: SLICES }, () => ({ gram: numbers(columns * columns), tokens }));
  const merge = (kernels: NativeAddon | null) =>
    timed(
      () => mergeHessians(partials, { native: kernels, threads }),
      () => null,
    );
  return measure(
    { kernel: `merge of ${SLICES} Hessians`, rows: null, columns, rounds },
    {
      ...(native && { native: merge(native) }),
      typescript: merge(null),
      ...python?.variants(['numpy'], { kernel: 'merge', rows: SLICES, columns }),
    },
  );
}

/** What the same function takes with either kernels. */
function ours(native: NativeAddon | null, work: () => unknown): Record<string, Variant> {
  const choices: readonly KernelChoice[] = native ? ['native', 'typescript'] : ['typescript'];
  return Object.fromEntries(choices.map((choice) => [choice, timed(work, () => preferKernels(choice))]));
}

async function measureConversions(columns: number, native: NativeAddon | null, python: Python | null) {
  const rows = tokens;
  const floats = numbers(rows * columns);
  const [halves, brains] = [encodeFloat16(floats), encodeBfloat16(floats)];
  const [toFloats, toPatterns] = [new Float32Array(floats.length), new Uint16Array(floats.length)];
  const groups = columns / GROUP;
  const codes = Uint8Array.from({ length: rows * columns }, (_, i) => (i * 7 + (i >> 5)) & 15);
  const linear = {
    kind: 'affine',
    rows,
    columns,
    bits: 4,
    groupSize: GROUP,
    symmetric: false,
    codes,
    zeros: new Uint8Array(rows * groups).fill(8),
    scales: numbers(rows * groups),
    groupOf: Int32Array.from({ length: columns }, (_, column) => Math.floor(column / GROUP)),
  } as const;
  const geometry = {
    lanes: rows,
    length: columns,
    codes: { lane: columns, item: 1 },
    words: { lane: 1, item: rows },
  };
  const packing = [3, 4, 8].flatMap((bits) => {
    const planes = bitPlanes(bits, 'gptq');
    const words = packWords(codes, planes, geometry);
    const peers = bits === 3 ? [] : ['numpy'];
    return [
      { kernel: `pack ${bits} bit`, work: () => packWords(codes, planes, geometry), peers },
      { kernel: `unpack ${bits} bit`, work: () => unpackWords(words, planes, geometry), peers },
    ];
  });
  const kernels = [
    { kernel: 'decode F16', work: () => decodeFloat16(halves, toFloats), peers: ['numpy', 'torch'] },
    { kernel: 'decode BF16', work: () => decodeBfloat16(brains, toFloats), peers: ['torch'] },
    { kernel: 'encode F16', work: () => encodeFloat16(floats, toPatterns), peers: ['numpy', 'torch'] },
    { kernel: 'encode BF16', work: () => encodeBfloat16(floats, toPatterns), peers: ['torch'] },
    { kernel: 'dequantize', work: () => dequantize(linear), peers: ['torch'] },
    ...packing,
  ];
  const results: Result[] = [];
  for (const { kernel, work, peers } of kernels.filter(({ kernel }) => wanted(kernel))) {
    const variants = { ...ours(native, work), ...python?.variants(peers, { kernel, rows, columns }) };
    results.push(await measure({ kernel, rows, columns, rounds }, variants));
  }
  preferKernels('native');
  return results;
}

const wanted = (kernel: string) => new RegExp(flags.only).test(kernel);

async function main(): Promise<void> {
  measureWith(flags.clock as Clock);
  const { native, name } = selectKernels();
  const executable = process.env.QUANTLOOM_PEERS_PYTHON;
  const python = executable ? Python.open(executable, join(__dirname, 'array_kernels_torch.py'), threads) : null;
  const results: Result[] = [];
  try {
    const outputs = flags.outputs?.split(',').map(Number);
    for (const [i, columns] of flags.columns.split(',').map(Number).entries()) {
      if (wanted('XᵀX')) results.push(await measureGram(columns, native, python));
      if (wanted('linear')) results.push(await measureLinear(columns, outputs?.[i] ?? columns, native, python));
      if (wanted('merge')) results.push(await measureMerge(columns, native, python));
      results.push(...(await measureConversions(columns, native, python)));
    }
  } finally {
    await python?.close();
  }
  const machine = { kernels: name, cpu: cpus()[0]?.model ?? 'unknown', node: process.version };
  const document = { ...machine, threads, rounds, tokens, clock: flags.clock, results };
  process.stdout.write(flags.json ? `${JSON.stringify(document)}\n` : `${tableOf(results)}\n`);
}

main().catch((error: unknown) => {
  process.stderr.write(`${error instanceof Error ? error.stack : error}\n`);
  process.exitCode = 1;
});
