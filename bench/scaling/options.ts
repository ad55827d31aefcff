import { resolve } from 'node:path';
import { parseArgs } from 'node:util';

export const SERIES = ['tokens', 'layers', 'workers'] as const;
export type SeriesName = (typeof SERIES)[number];

export interface ScalingOptions {
  readonly model: string;
  /** What results call it; null: as its directory. */
  readonly name: string | null;
  readonly text: string;
  readonly bits: number;
  readonly groupSize: number;
  readonly length: number;
  /** Calibration samples of the series `tokens`. */
  readonly samples: readonly number[];
  /** Layers of the series `layers`; null: a quarter, a half, three quarters, all. */
  readonly layers: readonly number[] | null;
  /** Workers, of one thread each, of the series `workers`. */
  readonly workers: readonly number[];
  /** Calibration samples of the series `layers` and `workers`. */
  readonly fixedSamples: number;
  /** Layers of the series `tokens` and `workers`; null: all. */
  readonly fixedLayers: number | null;
  readonly sliceTokens: number;
  readonly series: readonly SeriesName[];
  readonly quality: string | null;
  readonly rounds: number;
  readonly json: string | null;
}

export const HELP = `usage: npm run bench:scaling -- [flags]

How Quantloom's time grows with calibration tokens and with layers, and falls with workers of one thread.

  --model DIR            model directory, or demo (default)
  --name NAME            what results call the model (default: its directory's name)
  --text FILE            calibration text (default: demo)
  --bits N               default 4
  --group-size N         default 64
  --samples LIST         calibration samples of the series tokens (default 16,32,64)
  --length TOKENS        per sample (default 512)
  --layers LIST          of the series layers: the model cut so far (default: quarters of it)
  --workers LIST         of the series workers: so many CPU and GPU workers of one thread, on as many cores
                         (by taskset; default 1,2)
  --fixed-samples N      in the series layers and workers (default 64)
  --fixed-layers N       in the series tokens and workers (default: all)
  --slice-tokens N       calibration tokens per unit of work (default 8192)
  --series LIST          of ${SERIES.join(', ')} (default: all)
  --quality NAME         default: Quantloom's own
  --rounds N             default 1; runs of a series take turns
  --json FILE            keep results here, and go on from there`;

/** @throws Error that names the flag. */
export function parseScalingOptions(args: readonly string[]): ScalingOptions | 'help' {
  const { values } = parseArgs({
    args: [...args],
    options: {
      model: { type: 'string', default: 'demo' },
      name: { type: 'string' },
      text: { type: 'string', default: 'demo' },
      bits: { type: 'string', default: '4' },
      'group-size': { type: 'string', default: '64' },
      samples: { type: 'string', default: '16,32,64' },
      length: { type: 'string', default: '512' },
      layers: { type: 'string' },
      workers: { type: 'string', default: '1,2' },
      'fixed-samples': { type: 'string', default: '64' },
      'fixed-layers': { type: 'string' },
      'slice-tokens': { type: 'string', default: '8192' },
      series: { type: 'string', default: SERIES.join(',') },
      quality: { type: 'string' },
      rounds: { type: 'string', default: '1' },
      json: { type: 'string' },
      help: { type: 'boolean', default: false },
    },
  });
  if (values.help) return 'help';
  const place = (value: string) => (value === 'demo' ? value : resolve(value));
  const fixedLayers = values['fixed-layers'];
  return {
    model: place(values.model),
    name: values.name ?? null,
    text: place(values.text),
    bits: counts('bits', values.bits)[0] as number,
    groupSize: Number(values['group-size']),
    length: counts('length', values.length)[0] as number,
    samples: counts('samples', values.samples),
    layers: values.layers === undefined ? null : counts('layers', values.layers),
    workers: counts('workers', values.workers),
    fixedSamples: counts('fixed-samples', values['fixed-samples'])[0] as number,
    fixedLayers: fixedLayers === undefined ? null : (counts('fixed-layers', fixedLayers)[0] as number),
    sliceTokens: counts('slice-tokens', values['slice-tokens'])[0] as number,
    series: values.series.split(',').map((name) => {
      const series = SERIES.find((known) => known === name);
      if (series === undefined) throw new Error(`--series has "${name}"; known are ${SERIES.join(', ')}`);
      return series;
    }),
    quality: values.quality ?? null,
    rounds: counts('rounds', values.rounds)[0] as number,
    json: values.json === undefined ? null : resolve(values.json),
  };
}

function counts(name: string, list: string): number[] {
  const numbers = list.split(',').map(Number);
  if (numbers.every((number) => Number.isInteger(number) && number >= 1)) return numbers;
  throw new Error(`--${name} is "${list}"; it must be made of whole numbers of at least 1`);
}
