import type { JobResult } from '../engine/spec';
import { jobReport } from './job-report';

const result: JobResult = {
  outputs: { gptq: '/out' },
  sourceBytes: 4_000_000,
  outputBytes: 1_000_000,
  bitsPerWeight: 4.25,
  widths: null,
  perplexity: null,
  meanRelativeError: null,
  meanRelativeErrorBeforeRefinement: null,
  computed: 179,
  cached: 0,
  secondsSaved: 0,
  seconds: 12,
};

describe('the report of a finished job', () => {
  it('says how many steps were found in the store, and what computing them had taken', () => {
    const report = jobReport('job', { ...result, cached: 361, secondsSaved: 95.4 }, null);
    expect(report).toMatch(/^reused +361 of 540 steps, about 1 min 35 s of computing saved$/m);
  });

  it('names no time where the records are of a version that kept none', () => {
    expect(jobReport('job', { ...result, cached: 1 }, null)).toMatch(/^reused +1 of 180 steps$/m);
  });

  it('says what the refinements gained, where there were any', () => {
    const errors = { meanRelativeError: 0.004, meanRelativeErrorBeforeRefinement: 0.009 };
    expect(jobReport('job', { ...result, ...errors }, null)).toMatch(
      /^mean output error +0.4 %, before refinement 0.9 %$/m,
    );
    const unrefined = { ...errors, meanRelativeErrorBeforeRefinement: 0.004 };
    expect(jobReport('job', { ...result, ...unrefined }, null)).toMatch(/^mean output error +0.4 %$/m);
  });

  it('shows the widths that were chosen', () => {
    const widths = { averageBits: 3.498, linearsByBits: { 2: 1, 8: 6, 3: 24 } };
    const report = jobReport('job', { ...result, widths }, null);
    expect(report).toMatch(
      /^width +3.498 bits on average\n {2}2 bits +█ 1 linears\n {2}3 bits +█{24} 24 linears\n {2}8 bits +█{6} 6 linears$/m,
    );
  });

  it('says nothing of reuse when everything was computed', () => {
    expect(jobReport('job', result, null)).not.toContain('reused');
  });
});
