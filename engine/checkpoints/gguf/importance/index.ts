export {
  collectImportance,
  type InputImportance,
  importanceHead,
  readDiagonal,
  requireImportanceName,
} from './collect-importance';
export { type ImportanceEntry, type ImportanceFile, meanSquares } from './importance-file';
export { importanceName } from './importance-names';
export { publishImportance } from './publish-importance';
export { readImportance } from './read-importance';
export { writeImportance } from './write-importance';
