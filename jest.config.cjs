/** Unit tests lie beside the code; test/ holds integration, replay, e2e and chaos. */
module.exports = {
  globalSetup: '<rootDir>/test/global-setup.ts',
  testEnvironment: '<rootDir>/test/jest-environment.cjs',
  transform: {
    '^.+\\.[jt]sx?$': [
      '@swc/jest',
      { jsc: { target: 'es2023', parser: { syntax: 'typescript' } }, module: { type: 'commonjs' } },
    ],
  },
  // Packages that are published as ES modules only.
  transformIgnorePatterns: [
    '<rootDir>/dist/',
    '/node_modules/(?!(@huggingface/tokenizers|onnx-buf|env-paths|pretty-bytes|is-safe-filename)/)',
  ],
  testMatch: ['<rootDir>/{engine,activities,workflows,workers,cli,bench,test}/**/*.test.ts'],
  // They need Python packages: npm run test:peers.
  testPathIgnorePatterns: ['/node_modules/', '<rootDir>/test/peers/'],
  maxWorkers: 2,
  // Machines differ; a test that hangs still ends.
  testTimeout: 300_000,
};
