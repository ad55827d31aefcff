import { asActivity } from './as-activity';
import { assembleCheckpoints } from './assemble-checkpoints';
import { calibrateSlice } from './calibrate-slice';
import { chooseWidths } from './choose-widths';
import { discardCheckpoints } from './discard-checkpoints';
import { dropActivations } from './drop-activations';
import { embedSlice } from './embed-slice';
import { evaluate } from './evaluate';
import { extractImportance } from './extract-importance';
import { fetchModel } from './fetch-model';
import { inspectModel } from './inspect-model';
import { joinTables } from './join-tables';
import { measureWidths } from './measure-widths';
import { mergeHessian } from './merge-hessian';
import { notify } from './notify';
import { packLayer } from './pack-layer';
import { passOriginal } from './pass-original';
import { publishCheckpoints } from './publish-checkpoints';
import { publishImportanceMatrix } from './publish-importance-matrix';
import { quantizeLinears, quantizeRows } from './quantize-linears';
import { resolveSource } from './resolve-source';
import { rotateBlock } from './rotate-block';
import type { ActivityRuntime } from './runtime';
import { scaleBlock } from './scale-block';
import { settleCandidate } from './settle-candidate';
import { tokenizeCalibration } from './tokenize-calibration';
import { inTurn } from './turns';
import { verifyCheckpoints } from './verify-checkpoints';

/** Every activity, bound to what its worker lends to it. Which queue runs which is decided in the workflows. */
export function createActivities(runtime: ActivityRuntime) {
  return {
    assembleCheckpoints: asActivity(runtime, assembleCheckpoints),
    calibrateSlice: asActivity(runtime, inTurn(calibrateSlice)),
    chooseWidths: asActivity(runtime, chooseWidths),
    discardCheckpoints: asActivity(runtime, discardCheckpoints),
    dropActivations: asActivity(runtime, dropActivations),
    embedSlice: asActivity(runtime, embedSlice),
    evaluate: asActivity(runtime, evaluate),
    extractImportance: asActivity(runtime, extractImportance),
    fetchModel: asActivity(runtime, fetchModel),
    inspectModel: asActivity(runtime, inspectModel),
    joinTables: asActivity(runtime, joinTables),
    measureWidths: asActivity(runtime, measureWidths),
    mergeHessian: asActivity(runtime, mergeHessian),
    notify: asActivity(runtime, notify),
    packLayer: asActivity(runtime, packLayer),
    passOriginal: asActivity(runtime, passOriginal),
    publishCheckpoints: asActivity(runtime, publishCheckpoints),
    publishImportanceMatrix: asActivity(runtime, publishImportanceMatrix),
    quantizeLinears: asActivity(runtime, quantizeLinears),
    quantizeRows: asActivity(runtime, quantizeRows),
    resolveSource: asActivity(runtime, resolveSource),
    rotateBlock: asActivity(runtime, rotateBlock),
    scaleBlock: asActivity(runtime, scaleBlock),
    settleCandidate: asActivity(runtime, settleCandidate),
    tokenizeCalibration: asActivity(runtime, tokenizeCalibration),
    verifyCheckpoints: asActivity(runtime, verifyCheckpoints),
  };
}

export type Activities = ReturnType<typeof createActivities>;

export { HEARTBEAT_MILLISECONDS } from './as-activity';
export type { AssembledCheckpoint, AssembleInput } from './assemble-checkpoints';
export type { ActivationRefs, CalibratedSlice, MismatchOfSlice } from './calibrate-slice';
export type { ChooseInput, ChosenWidths } from './choose-widths';
export type { ImportanceParts } from './extract-importance';
export type { BlockOutline, InspectedModel } from './inspect-model';
export type { JoinInput } from './join-tables';
export type { MeasuredWidths } from './measure-widths';
export type { MergedHessian, MergeInput } from './merge-hessian';
export type { BlockHistory } from './pack-layer';
export type { PassedSlice } from './pass-original';
export type { MeasuredPerplexity, PublishInput } from './publish-checkpoints';
export type {
  HessianSource,
  MismatchInput,
  QuantizedLinears,
  QuantizedRowsOfStage,
  StageInput,
} from './quantize-linears';
export type { ResolvedSource } from './resolve-source';
export type { RotatedBlock } from './rotate-block';
export type { ActivityRuntime } from './runtime';
export type { Effort } from './step';
export { Turns } from './turns';
