// One model through the engine in this process, without Temporal, store and verification: what the rest of Quantloom adds to.
// usage: node bench/quantize-direct.mjs SPEC_JSON [THREADS]
import { createRequire } from 'node:module';

const { quantizeDirect } = createRequire(import.meta.url)('../dist/engine');

const [, , spec, threads] = process.argv;
await quantizeDirect(JSON.parse(spec), threads === undefined ? {} : { threads: Number(threads) });
