const { testPathIgnorePatterns: _, globalSetup: __, ...config } = require('../../jest.config.cjs');

module.exports = {
  ...config,
  rootDir: '../..',
  testMatch: ['<rootDir>/test/peers/**/*.test.ts'],
  reporters: ['default', '<rootDir>/test/peers/compatibility-reporter.cjs'],
};
