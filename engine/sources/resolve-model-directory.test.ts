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

test.each(['hf:org/name', 'hf:org/name@main', 's3://bucket/prefix', 'https://host/model'])(
  '%s is refused: not supported yet',
  (model) => {
    expect(() => resolveModelDirectory(model)).toThrow(
      expect.objectContaining({
        code: 'UnsupportedInput',
        message: expect.stringMatching(/^".*": .* not supported yet\. Download/),
      }),
    );
  },
);

test('a GGUF file is refused: not supported yet', () => {
  expect(() => resolveModelDirectory('dir/model.Q8_0.GGUF')).toThrow(
    expect.objectContaining({
      code: 'UnsupportedInput',
      message: expect.stringContaining('GGUF files are not supported yet'),
    }),
  );
});
