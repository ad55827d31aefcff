export type { ArtifactReader, ArtifactStore, ArtifactWriter, StoredArtifact } from './artifact-store';
export { type CollectOptions, type CollectReport, collectGarbage } from './collect';
export { openFileStore } from './file-store';
export { sha256Of } from './sha256';
export { asStoreFull, freeBytes } from './store-full';
