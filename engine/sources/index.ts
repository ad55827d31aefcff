export { isCompanion } from './companions';
export { type FileFingerprint, type FingerprintOptions, fingerprintFile } from './fingerprint-file';
export { type LocatedModel, locateModel, obtainModel } from './locate-model';
export { openModelDirectory, type SourceDirectory } from './open-model-directory';
export { packageRoot } from './package-root';
export { isPinned, nameOfModel, sourceOf } from './remote/model-sources';
export { fetchRemote, pinAddress } from './remote/remote-model';
export { type SourceAccess, sourceAccess } from './remote/source-access';
export { resolveModelDirectory } from './resolve-model-directory';
