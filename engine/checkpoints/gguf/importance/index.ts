export { type ImportanceEntry, type ImportanceFile, meanSquares } from './importance-file';
export { importanceName } from './importance-names';
export { readImportance } from './read-importance';
export { writeImportance } from './write-importance';
