import { existsSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { packageRoot } from './package-root';
import { resolveModelDirectory } from './resolve-model-directory';

test('the package root is the directory of package.json', () => {
  expect(JSON.parse(readFileSync(join(packageRoot(), 'package.json'), 'utf8')).name).toBe('quantloom');
});

test('demo is the model that ships with the package', () => {
  expect(existsSync(join(resolveModelDirectory('demo'), 'model.safetensors'))).toBe(true);
});

test.each(['./demo', 'models/llama', '/srv/models/llama', 'C:\\models', 'llama.gguf/'])('%s is a path', (model) => {
  expect(resolveModelDirectory(model)).toBe(resolve(model));
});

test.each(['hf:org/name', 'hf:org/name@main', 's3://bucket/prefix', 'https://host/model'])('%s is no path', (model) => {
  expect(() => resolveModelDirectory(model)).toThrow(
    expect.objectContaining({
      code: 'UnsupportedInput',
      message: expect.stringMatching(
        /^".*": .* addresses that models are quantized from begin with hf:, s3:\. Download/,
      ),
    }),
  );
});
