export { calibrateLayer } from './calibrate-layer';
export { quantizeLayer } from './quantize-layer';
export { quantizeModel } from './quantize-model';
