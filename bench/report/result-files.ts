import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import type { CompareRun } from '../compare/compared-run';
import type { WorkloadIdentity } from '../compare/workload';
import type { MethodRun } from '../methods/method-run';
import type { Results } from '../results-file';
import type { ScaleIdentity, ScaleRun } from '../scale/scale-run';
import type { ScaledRun, ScalingIdentity } from '../scaling/scaled-run';
import type { StoreIdentity, StoreRun } from '../store/store-run';

export type CompareResults = Results<WorkloadIdentity, CompareRun>;
export type MethodResults = Results<WorkloadIdentity, MethodRun>;
export type ScaleResults = Results<ScaleIdentity, ScaleRun>;
export type StoreResults = Results<StoreIdentity, StoreRun>;
export type ScalingResults = Results<ScalingIdentity, ScaledRun>;

/** As bench/kernels.ts and bench/array-kernels.ts print it with --json. */
export interface KernelResults {
  readonly kernels: string;
  readonly threads: number;
  readonly rounds: number;
  /** What seconds are: wall time where it is absent. */
  readonly clock?: 'wall' | 'cpu';
  readonly cpu: string;
  readonly node: string;
  readonly results: readonly {
    readonly kernel: string;
    readonly rows: number | null;
    readonly columns: number;
    /** Median seconds by variant. */
    readonly seconds: Readonly<Record<string, number>>;
  }[];
}

/** As bench/forward.mjs prints it with --json; the last result is the machine's product of matrices alone. */
export interface ForwardResults {
  readonly tokens: number;
  readonly length: number;
  readonly threads: number;
  readonly results: readonly {
    readonly name: string;
    /** What the mathematics needs: half of XᵀX, attention to what came before. */
    readonly gigaflops: number;
    /** What is done; absent where it is just that. */
    readonly gigaflopsDone?: number;
    readonly seconds: number;
  }[];
}

/** A file of results, with the name that charts are called after. */
export interface Named<T> {
  readonly name: string;
  readonly content: T;
}

/** Files of bench/results whose name begins with `kind`, in the order of their names. */
export function readResults<T>(
  directory: string,
  kind: 'compare' | 'scaling' | 'scale-' | 'kernels' | 'forward' | 'methods' | 'store',
): Named<T>[] {
  if (!existsSync(directory)) return [];
  return readdirSync(directory)
    .filter((file) => file.startsWith(kind) && file.endsWith('.json'))
    .sort()
    .map((file) => ({
      name: basename(file, '.json'),
      content: JSON.parse(lastLine(readFileSync(join(directory, file), 'utf8'))) as T,
    }));
}

/** `npm run` puts lines of its own before what a script prints. */
function lastLine(content: string): string {
  return content.startsWith('{') ? content : (content.trim().split('\n').at(-1) as string);
}
