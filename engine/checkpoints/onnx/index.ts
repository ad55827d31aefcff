export { exportOnnx, type OnnxExport, type OnnxExportOptions } from './export-onnx';
