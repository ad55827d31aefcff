export { demoCalibrationText, demoHeldOutText } from './demo-text';
export { encodeDocuments } from './encode-documents';
export { loadTokenizer, type TextTokenizer } from './load-tokenizer';
export { originalSequences, planSlices } from './plan-slices';
export { type CalibrationText, readCalibrationText } from './read-calibration-text';
export { sampleSequences } from './sample-sequences';
