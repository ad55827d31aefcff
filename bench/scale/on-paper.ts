/** What a job of a model needs of a fleet, from shapes alone: docs/scale.md says where each term comes from. */

/** Linears that share a captured input. */
interface CapturedInput {
  /** Input features K. */
  readonly columns: number;
  /** Output features of all linears that share it. */
  readonly rows: number;
  /** How many such inputs a layer has: experts; default 1. */
  readonly count?: number;
  /** Share of the tokens that reach each; default 1. */
  readonly share?: number;
}

export interface PaperModel {
  readonly name: string;
  /** Kinds of layers, with how many there are. */
  readonly layers: readonly { readonly count: number; readonly inputs: readonly CapturedInput[] }[];
  /** Elements of all activations that the stages of a layer leave behind, per token; they are read about as often as written. */
  readonly activationsPerToken: number;
}

/** What a fleet is taken to do. All of it is sustained, not peak. */
export interface PaperFleet {
  readonly gpus: number;
  readonly gpusPerMachine: number;
  /** Floating-point operations a second of one GPU. */
  readonly gpuFlops: number;
  /** Of the processors of one machine, in the solver. */
  readonly solverFlops: number;
  /** Bytes a second between a machine and the store. */
  readonly networkBytes: number;
}

export interface PaperTime {
  /** Seconds of the whole job that each part takes by itself. */
  readonly seconds: { readonly products: number; readonly network: number; readonly solving: number };
  readonly bottleneck: 'products' | 'network' | 'solving';
  /** Of the whole job. */
  readonly networkBytes: number;
  /** Of it, sums of x xᵀ. */
  readonly gramBytes: number;
  /** When products wait for nothing but the network, and layers are solved side by side or one after another. */
  readonly hours: number;
}

/** Products of the solver per row and pair of columns: the column loop once, three sweeps of refinement, the errors. */
const SWEEPS = 6;

/** One slice of the calibration set per GPU: with more, more sums of x xᵀ are stored; with fewer, GPUs wait. */
export function timeOnPaper(
  model: PaperModel,
  tokens: number,
  fleet: PaperFleet,
  order: 'stage' | 'independent',
): PaperTime {
  const machines = fleet.gpus / fleet.gpusPerMachine;
  const slices = fleet.gpus;
  let products = 0;
  let bytes = 0;
  let gramBytes = 0;
  let solving = 0;
  for (const { count: layers, inputs } of model.layers) {
    let factoring = 0;
    let sweeping = 0;
    for (const { columns, rows, count = 1, share = 1 } of inputs) {
      // The forward pass, and half of XᵀX.
      products += layers * count * share * tokens * (2 * rows * columns + columns * columns);
      gramBytes += layers * count * 2 * slices * 4 * columns * columns;
      // Every GPU reads every weight once, for it has a slice of every layer.
      bytes += layers * count * fleet.gpus * 2 * rows * columns;
      factoring += count > 1 ? (count * columns ** 3) / machines : columns ** 3;
      sweeping += (count * SWEEPS * rows * columns * columns) / machines;
    }
    bytes += layers * 2 * 2 * tokens * model.activationsPerToken;
    const alone = layers * (factoring + sweeping);
    const sharedFactoring = inputs.reduce((sum, { columns, count = 1 }) => sum + count * columns ** 3, 0) / machines;
    solving += (order === 'stage' ? alone : layers * (sharedFactoring + sweeping)) / fleet.solverFlops;
  }
  bytes += gramBytes;
  const seconds = {
    products: products / (fleet.gpus * fleet.gpuFlops),
    network: bytes / (machines * fleet.networkBytes),
    solving,
  };
  const [bottleneck] = (Object.entries(seconds) as [PaperTime['bottleneck'], number][]).sort(
    (a, b) => b[1] - a[1],
  )[0] as [PaperTime['bottleneck'], number];
  // The next slice is read while one is multiplied; in `stage` nothing is multiplied while a stage is solved.
  const moving = Math.max(seconds.products, seconds.network);
  const total = order === 'stage' ? moving + solving : Math.max(moving, solving);
  return { seconds, bottleneck, networkBytes: bytes, gramBytes, hours: total / 3600 };
}

/** Llama 3 70B. */
export const PAPER_70B: PaperModel = {
  name: '70B (Llama 3)',
  layers: [
    {
      count: 80,
      inputs: [
        { columns: 8192, rows: 10240 },
        { columns: 8192, rows: 8192 },
        { columns: 8192, rows: 57344 },
        { columns: 28672, rows: 8192 },
      ],
    },
  ],
  activationsPerToken: 8192 + 8192 + 8192 + 28672,
};

const LATENT_ATTENTION: readonly CapturedInput[] = [
  { columns: 7168, rows: 1536 + 576 },
  { columns: 1536, rows: 24576 },
  { columns: 512, rows: 32768 },
  { columns: 16384, rows: 7168 },
];

/** DeepSeek V3 (arXiv 2412.19437), 256 experts of which 8 take a token, and one that takes all. */
export const PAPER_671B: PaperModel = {
  name: '671B (DeepSeek V3)',
  layers: [
    {
      count: 3,
      inputs: [...LATENT_ATTENTION, { columns: 7168, rows: 2 * 18432 }, { columns: 18432, rows: 7168 }],
    },
    {
      count: 58,
      inputs: [
        ...LATENT_ATTENTION,
        { columns: 7168, rows: 2 * 2048 },
        { columns: 2048, rows: 7168 },
        { columns: 7168, rows: 2 * 2048, count: 256, share: 8 / 256 },
        { columns: 2048, rows: 7168, count: 256, share: 8 / 256 },
      ],
    },
  ],
  activationsPerToken: 7168 + 16384 + 7168 + 9 * 2048,
};
