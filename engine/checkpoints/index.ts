export {
  assembleCheckpoint,
  type CheckpointDescription,
  completeManifest,
  type SignedReport,
  weightFilesOf,
} from './assemble-checkpoint';
export {
  discardFromBucket,
  hasManifestInBucket,
  isBucketOutput,
  manifestInBucket,
  missingInBucket,
  placeInOutput,
  publishToBucket,
} from './bucket-output';
export { companionsAt } from './companions-at';
export { containerAt } from './container-at';
export { createManifest, type ManifestInput } from './create-manifest';
export { dequantizeLinear, weightSha256 } from './dequantize-linear';
export type { CheckpointContext, CheckpointFormat, FormatName, KeptStorage } from './format';
export { CHECKPOINT_FORMATS, formatOf, smallestZeroOf } from './formats';
export {
  collectImportance,
  type ImportanceEntry,
  type ImportanceFile,
  type InputImportance,
  importanceHead,
  importanceName,
  meanSquares,
  publishImportance,
  readDiagonal,
  readImportance,
  requireImportanceName,
  writeImportance,
} from './gguf/importance';
export { layoutsWithin } from './layouts-within';
export { MANIFEST_FILE, type Manifest, ManifestSchema, parseManifest, serializeManifest } from './manifest';
export { meanErrors } from './mean-errors';
export { modelCard } from './model-card';
export { type CheckpointReader, openCheckpoint } from './open-checkpoint';
export { describeFile, type OutputFile } from './output-file';
export { publishDirectory } from './publish-directory';
export { type RecordedLinear, recordedLinears } from './recorded-linears';
export {
  layoutSafetensors,
  parseSafetensors,
  readSafetensorsHeader,
  readTensor,
  type SafetensorsContent,
  type SafetensorsHeader,
  type SafetensorsLayout,
  serializeSafetensors,
} from './safetensors';
export { safetensorsContainer } from './safetensors-container';
export { type CheckpointShard, shardsOfCheckpoint } from './shards-of-checkpoint';
export { openStoredCodes, type StoredCodes } from './stored-codes';
export { type StoredDigests, storedDigests, withStoredDigests } from './stored-digests';
export type { VerificationCheck } from './verification/check';
export { requireVerified, type VerificationResult, verifyCheckpoint } from './verify-checkpoint';
export { requireShardVerified, type ShardDescription, type ShardVerification, verifyShard } from './verify-shard';
export type { StoredShard } from './weight-container';
export { type WeightForm, weightForms } from './weight-form';
export { shardName, writeShardIndex } from './write-shard-index';
