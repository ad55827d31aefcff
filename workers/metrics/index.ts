export { type HostAndPort, parseMetricsAddress } from './metrics-address';
export { openMetrics, type ProcessMetrics } from './open-metrics';
