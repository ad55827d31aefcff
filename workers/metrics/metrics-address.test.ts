import { parseMetricsAddress } from './metrics-address';

describe('the address of metrics', () => {
  it.each([
    ['0.0.0.0:9464', { host: '0.0.0.0', port: 9464 }],
    [':9464', { host: '0.0.0.0', port: 9464 }],
    ['[::1]:0', { host: '::1', port: 0 }],
    ['node-3.internal:65535', { host: 'node-3.internal', port: 65535 }],
  ])('%s', (value, expected) => expect(parseMetricsAddress(value)).toEqual(expected));

  it.each([undefined, ''])('is nowhere when it is %p', (value) => expect(parseMetricsAddress(value)).toBeNull());

  it.each(['9464', 'host:', 'host:65536', 'http://host:1', 'a b:1'])('%s is refused, with the variable', (value) =>
    expect(() => parseMetricsAddress(value)).toThrow(/QUANTLOOM_METRICS_ADDRESS is ".*"; it must be HOST:PORT/),
  );
});
