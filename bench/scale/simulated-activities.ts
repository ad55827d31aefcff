import { createHash } from 'node:crypto';
import type { Activities, ActivityRuntime } from '../../activities';
import { asActivity } from '../../activities/as-activity';
import { inspectModel } from '../../activities/inspect-model';
import { type LinearRefs, MOST_NAMED } from '../../activities/linear-refs';
import { describeModel, type JobPlan, readDocument } from '../../activities/model-view';
import type { ArtifactKind, ArtifactRef } from '../../engine/spec';

const EFFORT = { cached: false, seconds: 0, secondsSaved: 0 };
const NO_ATTEMPT = { signal: new AbortController().signal, progress: () => undefined };

/** What the simulated activities have done so far. */
export interface ActivityCounts {
  /** By name. */
  readonly begun: Record<string, number>;
}

/**
 * Activities that do nothing and answer what the real ones would: references of the same form and length. Only `inspectModel` is the
 * real one, so that the order of the work is that of the real shapes.
 */
export function simulatedActivities(runtime: ActivityRuntime, counts: ActivityCounts): Activities {
  const counted = <Input, Output>(name: string, body: (input: Input) => Promise<Output>) =>
    asActivity(runtime, (input: Input) => {
      counts.begun[name] = (counts.begun[name] ?? 0) + 1;
      return body(input);
    });
  const planOf = (plan: ArtifactRef) => readDocument<JobPlan>(plan, runtime, NO_ATTEMPT);
  const stageOf = async (at: { plan: ArtifactRef; block: number; stage: string }) =>
    (await planOf(at.plan)).blocks[at.block]?.stages.find(({ stage }) => stage === at.stage);
  const hiddenShape = async (plan: ArtifactRef, slice: number) => {
    const document = await planOf(plan);
    const sequences = document.slices[slice]?.sequences ?? document.slices[0]?.sequences ?? 1;
    return [sequences, document.spec.calibration.sequenceLength, describeModel(document).shape.hiddenSize];
  };

  const activities: Record<keyof Activities, unknown> = {
    inspectModel: counted('inspectModel', (input: { spec: unknown }) => inspectModel(input, runtime, NO_ATTEMPT)),
    fetchModel: counted('fetchModel', async () => ({
      ...{ table: reference('document', 'table'), files: reference('document', 'files') },
      ...{ source: reference('checkpoint', 'source'), ...EFFORT },
    })),
    tokenizeCalibration: counted('tokenizeCalibration', async () => ({
      ...{ tokens: reference('tokens', 'tokens', [512, 2048]), textSha256: hashOf('text'), ...EFFORT },
    })),
    embedSlice: counted('embedSlice', async ({ plan, slice }: { plan: ArtifactRef; slice: number }) => ({
      ...{ hidden: reference('activation', `embedded ${slice}`, await hiddenShape(plan, slice)), ...EFFORT },
    })),
    calibrateSlice: counted(
      'calibrateSlice',
      async (input: { plan: ArtifactRef; block: number; stage: string; activations: object; gram: boolean }) => {
        const seed = `${input.block} ${input.stage} ${JSON.stringify(input.activations)}`;
        const shape = await hiddenShape(input.plan, 0);
        const columns = (await stageOf(input))?.linears[0]?.columns ?? 1;
        return {
          activations: {
            hidden: reference('activation', seed, shape),
            captured: reference('activation', `x${seed}`, shape),
          },
          gram: input.gram ? reference('gram', seed, [columns, columns]) : null,
          ...{ tokens: (shape[0] as number) * (shape[1] as number), nonFiniteSequences: 0, ...EFFORT },
        };
      },
    ),
    mergeHessian: counted('mergeHessian', async (input: object) => ({
      ...{ hessian: reference('hessian', JSON.stringify(input), [8192, 8192]), tokens: 1_048_576, ...EFFORT },
    })),
    quantizeRows: counted(
      'quantizeRows',
      async (input: { plan: ArtifactRef; block: number; stage: string; part: number }) => ({
        ...{ solved: await solvedOf(input, `rows ${input.part}`, 'solved-rows'), ...EFFORT },
      }),
    ),
    quantizeLinears: counted(
      'quantizeLinears',
      async (input: { plan: ArtifactRef; block: number; stage: string; hessian: object | null }) => ({
        linears: inFew(await solvedOf(input, 'whole', 'quantized-linear'), `${input.block}/${input.stage}`),
        reports: reference('document', `report ${input.block} ${input.stage}`),
        merged:
          input.hessian && 'parts' in input.hessian
            ? { hessian: reference('hessian', `${input.block} ${input.stage}`, [8192, 8192]), tokens: 1, ...EFFORT }
            : null,
        ...{ relativeError: 0.01, relativeErrorBeforeRefinement: 0.02, ...EFFORT },
      }),
    ),
    packLayer: counted('packLayer', async ({ block }: { block: number | null }) => ({
      shards: { gptq: reference('layer', `layer ${block}`) },
      ...{ report: block === null ? null : reference('document', `block ${block}`), ...EFFORT },
    })),
    assembleCheckpoints: counted('assembleCheckpoints', async () => ({
      checkpoints: [
        {
          ...{ format: 'gptq', directory: 'staging', output: 'out', bitsPerWeight: 4.25 },
          checkpoint: reference('checkpoint', 'result'),
        },
      ],
    })),
    verifyCheckpoints: counted('verifyCheckpoints', async () => ({})),
    publishCheckpoints: counted('publishCheckpoints', async () => ({
      ...{ outputs: { gptq: 'out' }, outputBytes: 1, bitsPerWeight: 4.25 },
    })),
    dropActivations: counted('dropActivations', async () => undefined),
    discardCheckpoints: counted('discardCheckpoints', async () => undefined),
    ...Object.fromEntries(
      (
        [
          'passOriginal',
          'chooseWidths',
          'measureWidths',
          'evaluate',
          'joinTables',
          'rotateBlock',
          'scaleBlock',
        ] as const
      ).map((name) => [
        name,
        counted(name, () => Promise.reject(new Error(`${name} is not part of the simulated job`))),
      ]),
    ),
  } as Record<keyof Activities, unknown>;
  return activities as Activities;

  async function solvedOf(at: { plan: ArtifactRef; block: number; stage: string }, seed: string, kind: ArtifactKind) {
    const linears = ((await stageOf(at))?.linears ?? []).filter(({ recipe }) => recipe !== null);
    return Object.fromEntries(linears.map(({ name }) => [name, reference(kind, `${name} ${seed}`)]));
  }
}

function inFew(linears: LinearRefs, name: string): LinearRefs {
  return Object.keys(linears).length > MOST_NAMED ? { [name]: reference('document', name) } : linears;
}

function reference(kind: ArtifactKind, seed: string, shape?: readonly number[]): ArtifactRef {
  const bytes = 4 * (shape ?? [1 << 20]).reduce((product, size) => product * size, 1);
  return {
    ...{ kind, sha256: hashOf(`${kind} ${seed}`), bytes },
    ...(shape && { dtype: 'F32' as const, shape }),
    from: hashOf(`from ${kind} ${seed}`),
  };
}

function hashOf(text: string): string {
  return createHash('sha256').update(text).digest('hex');
}
