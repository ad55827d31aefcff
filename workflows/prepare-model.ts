import type { InspectedModel } from '../activities';
import type { ArtifactRef, JobResult, QuantizationSpecInput } from '../engine/spec';
import { onCpu } from './activity-proxies';
import { failAtOnce } from './fail-at-once';
import { inWindow } from './in-window';
import type { Job } from './job';
import { SLICES_AT_ONCE } from './layer-hands';
import type { LayersSoFar } from './quantize-layers';
import { rotateModel } from './rotate-model';

/** An inspected model, fetched, and the text that it is calibrated on. */
export interface PreparedModel extends InspectedModel {
  /** Document: TensorTable. */
  readonly table: ArtifactRef;
  /** Document: SHA-256 and size of every source file. */
  readonly files: ArtifactRef;
  /** The source model as a whole. */
  readonly source: ArtifactRef;
  /** Null when nothing needs calibration. */
  readonly calibration: { readonly tokens: ArtifactRef; readonly textSha256: string } | null;
  /** The widths that stand in `plan`; null when none are chosen, or not yet. */
  readonly widths: JobResult['widths'];
  /** `table` has the tensors of the scaled model. */
  readonly scaled?: true;
}

/** From one JSON object to a fetched model: what is wrong with it is said here, before any layer is touched. */
export async function prepareModel(spec: QuantizationSpecInput, job: Job): Promise<PreparedModel> {
  const model = await job.step('inspecting', () => onCpu('read shapes, plan').inspectModel({ spec }).catch(failAtOnce));
  job.board.inspected(model);
  const { plan } = model;
  const fetched = await job.step('fetching', () =>
    onCpu('hash and scan the weights').fetchModel({ plan }).catch(failAtOnce),
  );
  const calibration =
    model.slices > 0
      ? await job.step('tokenizing', () => onCpu('tokenize').tokenizeCalibration({ plan }).catch(failAtOnce))
      : null;
  const { table, files, source } = fetched;
  const prepared = { ...model, table, files, source, calibration, widths: null };
  return model.spec.rotation === 'hadamard' ? rotateModel(prepared, job) : prepared;
}

/** The calibration slices as the first layer sees them. */
export async function embedSlices(model: PreparedModel, job: Job): Promise<LayersSoFar> {
  const { plan, table, calibration, slices, blocks } = model;
  const tokens = calibration?.tokens;
  if (!tokens) return { activations: [], applied: {}, retired: [], finished: [] };
  const original = blocks.some(({ stages }) => stages.some(({ makesUpFor }) => makesUpFor));
  const embedded = await job.step('embedding', () =>
    inWindow(
      Array.from({ length: slices }, (_, slice) => slice),
      () => SLICES_AT_ONCE,
      (slice) => onCpu(`embed slice ${slice + 1} of ${slices}`).embedSlice({ plan, table, tokens, slice, original }),
    ),
  );
  return {
    activations: embedded.map(({ hidden }) => ({ hidden })),
    // The first stage of the first layer applies nothing: what is behind it is what is before it.
    ...(original && { original: embedded.flatMap(({ original }) => (original ? [{ hidden: original }] : [])) }),
    applied: {},
    retired: [],
    finished: [],
  };
}
