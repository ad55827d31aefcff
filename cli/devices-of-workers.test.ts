import { devicesOfWorkers } from './devices-of-workers';

describe('the devices of the workers of a machine', () => {
  it.each([
    [undefined, ['cpu']],
    ['', ['cpu']],
    ['auto', ['auto']],
    ['cuda:0, cuda:1', ['cuda:0', 'cuda:1']],
  ])('%p are %p', (value, expected) => expect(devicesOfWorkers({ QUANTLOOM_DEVICE: value })).toEqual(expected));

  it('are refused one by one', () =>
    expect(() => devicesOfWorkers({ QUANTLOOM_DEVICE: 'cuda:0,gpu1' })).toThrow('QUANTLOOM_DEVICE is "gpu1"'));
});
