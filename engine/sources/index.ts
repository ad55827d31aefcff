export { isCompanion } from './companions';
export { type FileFingerprint, type FingerprintOptions, fingerprintFile } from './fingerprint-file';
export { openModelDirectory, type SourceDirectory } from './open-model-directory';
export { packageRoot } from './package-root';
export { resolveModelDirectory } from './resolve-model-directory';
