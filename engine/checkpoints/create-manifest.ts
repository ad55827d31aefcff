import { basename } from 'node:path';
import { nameOfModel } from '../sources/remote/model-sources';
import type { BlockReport, QuantizationSpec } from '../spec';
import type { Manifest } from './manifest';

/** What a manifest is made from. Absolute paths may stand in `spec`; they do not reach the manifest. */
export interface ManifestInput extends Omit<Manifest, 'manifestVersion' | 'spec' | 'blocks' | 'run' | 'source'> {
  readonly source: Omit<Manifest['source'], 'name'>;
  readonly spec: QuantizationSpec;
  readonly reports: readonly BlockReport[];
  readonly run: Omit<Manifest['run'], 'blocks'>;
}

/** Splits what follows from the inputs from what differs from run to run, and sorts what has no order of its own. */
export function createManifest({ reports, spec, source, run, ...rest }: ManifestInput): Manifest {
  const {
    model,
    output: _output,
    overwrite: _overwrite,
    concurrency: _concurrency,
    solveParts: _parts,
    ...kept
  } = spec;
  const ordered = [...reports].sort((a, b) => a.index - b.index);
  return {
    manifestVersion: 1,
    ...rest,
    source: { name: nameOfModel(model), ...source, files: byName(source.files) },
    spec: {
      ...kept,
      calibration: { ...kept.calibration, source: basename(kept.calibration.source) },
      ...(kept.imatrix !== undefined && { imatrix: basename(kept.imatrix) }),
      evaluation: kept.evaluation && { ...kept.evaluation, text: basename(kept.evaluation.text) },
    },
    linears: Object.fromEntries(Object.entries(rest.linears).sort(([a], [b]) => (a < b ? -1 : 1))),
    blocks: ordered.map(({ seconds: _seconds, computed: _computed, cached: _cached, ...stable }) => ({
      ...stable,
      linears: [...stable.linears],
    })),
    files: byName(rest.files),
    run: {
      ...run,
      blocks: ordered.map(({ index, seconds, computed, cached }) => ({
        index,
        seconds: { ...seconds },
        computed,
        cached,
      })),
    },
  };
}

function byName<T extends { readonly name: string }>(files: readonly T[]): T[] {
  return [...files].sort((a, b) => (a.name < b.name ? -1 : 1));
}
