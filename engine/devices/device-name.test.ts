import { deviceNamed, isCpu } from './device';
import { parseDevice } from './device-name';

describe('the name of a device', () => {
  it.each([
    [undefined, 'cpu'],
    ['', 'cpu'],
    ['cpu', 'cpu'],
    ['webgpu', 'webgpu'],
    ['auto', 'auto'],
    ['cuda', 'cuda:0'],
    ['cuda:0', 'cuda:0'],
    ['cuda:07', 'cuda:7'],
    ['cuda:63', 'cuda:63'],
  ])('%p is %s', (value, expected) => expect(parseDevice(value, '--device')).toBe(expected));

  it.each(['gpu', 'cuda:', 'cuda:-1', 'cuda:64', 'cuda:100', 'cuda:1.5', 'CUDA:0', ' cpu', 'cuda:0,1', '0'])(
    '%p is refused by the name of what said it',
    (value) =>
      expect(() => parseDevice(value, 'QUANTLOOM_DEVICE')).toThrow(
        `QUANTLOOM_DEVICE is "${value}"; it must be cpu, webgpu, cuda:N (N from 0 to 63) or auto`,
      ),
  );

  it('says which execution provider computes', () => {
    expect(deviceNamed('cuda:3').executionProviders).toEqual([{ name: 'cuda', deviceId: 3 }]);
    expect(deviceNamed('webgpu').executionProviders).toEqual(['webgpu']);
    expect(deviceNamed('cpu').executionProviders).toEqual(['cpu']);
    expect([isCpu(), isCpu(['cpu']), isCpu(['webgpu'])]).toEqual([true, true, false]);
  });
});
