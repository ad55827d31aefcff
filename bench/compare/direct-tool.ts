import { join } from 'node:path';
import { packageRoot } from '../../engine/sources';
import { quantloomVersion } from '../quantloom-command';
import { DEFAULT_QUALITY } from './options';
import { settingsOfManifest, zeroPointsOf } from './quantloom-tool';
import type { Tool } from './tool';
import { SEED } from './workload';

/** The engine alone, in one process: the same work without Temporal, store, workers and verification. */
export function directTool(quality: string): Tool {
  return {
    name: quality === DEFAULT_QUALITY ? 'direct' : `direct-${quality}`,
    title: `Quantloom's engine alone, ${quality}`,
    version: quantloomVersion(),
    readers: { quantloom: true, owner: 'gptqmodel' },
    command({ workload: { options }, width, output, scratch }) {
      const { symmetric, format } = zeroPointsOf(quality, width);
      const spec = {
        model: options.model,
        output,
        quality,
        recipe: { bits: width.bits, groupSize: options.groupSize, ...(symmetric !== null && { symmetric }) },
        calibration: { source: options.text, samples: options.samples, sequenceLength: options.length, seed: SEED },
        ...(format && { formats: [format] }),
      };
      return {
        command: process.execPath,
        args: [join(packageRoot(), 'bench', 'quantize-direct.mjs'), JSON.stringify(spec), String(options.threads)],
        environment: process.env,
        workingDirectory: scratch,
      };
    },
    outcome: ({ output }) => ({ settings: settingsOfManifest(output), parts: {} }),
  };
}
