export { calibrateLayer } from './calibrate-layer';
export { cancelParent } from './cancel-parent';
export { passOriginalLayer } from './pass-original-layer';
export { quantizeLayer } from './quantize-layer';
export { quantizeModel } from './quantize-model';
export { requantizeModel } from './requantize-model';
