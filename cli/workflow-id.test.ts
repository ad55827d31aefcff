import { parseQuantizationSpec } from '../engine/spec';
import { modelName, schemeName, specIdentity, workflowIdOf } from './workflow-id';

const spec = parseQuantizationSpec({ model: '/models/SmolLM2-135M', output: '/out/a' });

describe('workflow id', () => {
  it('is readable, and the same for the same spec whatever the order of its fields', () => {
    const turned = parseQuantizationSpec(Object.fromEntries(Object.entries(spec).reverse()));
    expect(workflowIdOf(turned)).toBe(workflowIdOf(spec));
    expect(workflowIdOf(spec)).toMatch(/^SmolLM2-135M-gptq-4bit-g128-[0-9a-f]{8}$/);
  });

  it('is the SHA-256 of the spec in canonical JSON', () => {
    const fields = {
      output: 'o',
      model: 'm',
      overwrite: true,
      concurrency: 3,
      formats: ['gptq', 'gptq_v2'],
      evaluation: null,
      calibration: { source: 'demo', sequenceLength: 2048, samples: 128 },
    };
    // By Python: sha256 of json.dumps(fields without overwrite and concurrency, sort_keys=True, separators=(',', ':')).
    expect(specIdentity(fields as never)).toBe('73eb05fcf12a25ed77853d6e0e8c3d974a7f59e10b21701f33d48bfef6a3f359');
  });

  it('does not depend on what leaves the result as it is', () => {
    expect(workflowIdOf({ ...spec, overwrite: true, concurrency: 1, solveParts: 5 })).toBe(workflowIdOf(spec));
  });

  it('differs with the output and every other field', () => {
    expect(workflowIdOf({ ...spec, output: '/out/b' })).not.toBe(workflowIdOf(spec));
    expect(workflowIdOf({ ...spec, calibration: { ...spec.calibration, seed: 1 } })).not.toBe(workflowIdOf(spec));
  });

  it('names schemes and models', () => {
    const recipe = { ...spec.recipe, method: 'rtn', bits: 3, groupSize: -1, symmetric: false } as const;
    expect(schemeName({ recipe, averageBits: null })).toBe('rtn-3bit-row-asym');
    expect(schemeName({ recipe: spec.recipe, averageBits: 3.5 })).toBe('gptq-3.5bit-g128');
    expect(modelName('/models/My model (v2)/')).toBe('My-model-v2-');
  });
});
