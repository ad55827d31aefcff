require('../run-typescript.cjs');
module.exports = require('./compatibility-reporter.ts').CompatibilityReporter;
