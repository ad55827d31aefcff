export { scalesOfGain, scaleTensor } from './scale-tensor';
export { plannedGroups, scaledTensors } from './scaled-tensors';
export { perChannel, type ScalingGroup, scalingGroups } from './scaling-groups';
export { searchScales } from './search-scales';
export { smoothScales } from './smooth-scales';
