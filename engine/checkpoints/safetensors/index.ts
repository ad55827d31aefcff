export { parseSafetensors, type SafetensorsContent } from './parse-safetensors';
export { readSafetensorsHeader, readTensor } from './read-safetensors';
export {
  type InvalidFileCode,
  MAX_HEADER_BYTES,
  parseSafetensorsHeader,
  type SafetensorsHeader,
  type TensorLocation,
} from './safetensors-header';
export { layoutSafetensors, type SafetensorsLayout, serializeSafetensors } from './serialize-safetensors';
