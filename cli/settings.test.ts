import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { CONFIG_FILE, resolveSettings } from './settings';

function directoryWith(config: unknown): string {
  const directory = mkdtempSync(join(tmpdir(), 'quantloom-settings-'));
  writeFileSync(join(directory, CONFIG_FILE), typeof config === 'string' ? config : JSON.stringify(config));
  return directory;
}

describe('settings', () => {
  it('takes flags before the environment before quantloom.config.json', () => {
    const workingDirectory = directoryWith({ threads: 3, gpuWorkers: 5, cpuWorkers: 6 });
    const fromFile = resolveSettings({ flags: {}, environment: {}, workingDirectory });
    expect(fromFile).toMatchObject({ threads: 3, gpuWorkers: 5, cpuWorkers: 6 });
    const environment = { QUANTLOOM_THREADS: '7' };
    expect(resolveSettings({ flags: {}, environment, workingDirectory }).threads).toBe(7);
    expect(resolveSettings({ flags: { threads: 9 }, environment, workingDirectory }).threads).toBe(9);
    const workers = resolveSettings({ flags: { workers: 2, gpuWorkers: 1 }, environment, workingDirectory });
    expect(workers).toMatchObject({ cpuWorkers: 2, gpuWorkers: 1 });
  });

  it('puts the store inside home, wherever home is', () => {
    const workingDirectory = directoryWith({ home: 'state' });
    expect(resolveSettings({ flags: {}, environment: {}, workingDirectory })).toMatchObject({
      home: join(workingDirectory, 'state'),
      store: { location: join(workingDirectory, 'state', 'store') },
    });
    const environment = { QUANTLOOM_HOME: '/srv/quantloom', QUANTLOOM_STORE: '/big/store' };
    expect(resolveSettings({ flags: {}, environment, workingDirectory })).toMatchObject({
      home: '/srv/quantloom',
      store: { location: '/big/store' },
    });
  });

  it('treats an empty variable as not set', () => {
    const workingDirectory = directoryWith({ home: '/from/file' });
    expect(resolveSettings({ flags: {}, environment: { QUANTLOOM_HOME: '' }, workingDirectory }).home).toBe(
      '/from/file',
    );
  });

  it.each([
    ['{', /not JSON/],
    [{ thread: 2 }, /thread/],
    [{ cpuWorkers: -1 }, /cpuWorkers/],
  ])('refuses a bad configuration file %j', (config, message) => {
    const workingDirectory = directoryWith(config);
    expect(() => resolveSettings({ flags: {}, environment: {}, workingDirectory })).toThrow(message);
  });

  it('refuses a number of threads that is none', () => {
    const environment = { QUANTLOOM_THREADS: 'many' };
    expect(() => resolveSettings({ flags: {}, environment, workingDirectory: '/' })).toThrow(
      /QUANTLOOM_THREADS is "many"/,
    );
  });
});
