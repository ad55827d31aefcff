import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client';
import type { DampingRung } from '../../engine/spec';

/** Seconds of activities and steps: from a lookup to a factorization of hours. */
const SECONDS = [0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300, 1_000, 3_000, 10_000];
/** Squared output error relative to the output's energy. */
const RELATIVE_ERRORS = [1e-6, 1e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.3, 1];

/** Of a Hessian: with float64 the inverse is worth nothing from 1e16 on. */
const CONDITIONS = [1, 10, 100, 1e3, 1e4, 1e5, 1e6, 1e8, 1e10, 1e12, 1e14];

const RUNGS: readonly DampingRung[] = ['as-asked', 'more-damping', 'diagonal-floor', 'round-to-nearest', 'not-needed'];

type Fields = Readonly<Record<string, unknown>>;

/**
 * What a worker process tells Prometheus, drawn from the same events as its log. Names end in their base unit; labels have a bounded number of
 * values (activities, steps, kinds of linears): never a job, a layer or a key.
 */
export class WorkerMetrics {
  readonly registry = new Registry();
  private readonly activitySeconds = this.histogram(
    'quantloom_activity_seconds',
    'Wall time of activities, by outcome: computed, cached, failed, cancelled.',
    ['activity', 'outcome'],
    SECONDS,
  );
  private readonly stepSeconds = this.histogram(
    'quantloom_step_seconds',
    'Wall time of steps that were computed.',
    ['step'],
    SECONDS,
  );
  private readonly partSeconds = this.counter(
    'quantloom_step_part_seconds_total',
    'Wall time of parts of steps: forward, gram, store.',
    ['step', 'part'],
  );
  private readonly steps = this.counter(
    'quantloom_steps_total',
    'Steps, by result: computed, cached (found in the store), recomputed (its artifact was lost).',
    ['step', 'result'],
  );
  private readonly tokens = this.counter('quantloom_stage_tokens_total', 'Tokens that passed a stage.', ['stage']);
  private readonly operations = this.counter(
    'quantloom_stage_flops_total',
    'Floating-point operations of the linears that stages applied, and of half of XᵀX.',
    ['stage'],
  );
  private readonly relativeError = this.histogram(
    'quantloom_quantization_relative_error',
    "tr(ΔW H ΔWᵀ) / tr(W H Wᵀ) of quantized linears: squared output error relative to the output's energy.",
    ['linear'],
    RELATIVE_ERRORS,
  );
  private readonly condition = this.histogram(
    'quantloom_hessian_condition',
    'What the condition number of the damped Hessian of a quantized linear is at least.',
    ['linear'],
    CONDITIONS,
  );
  private readonly rungs = this.counter(
    'quantloom_damping_rungs_total',
    'Quantized linears by how the inverse of their Hessian was had.',
    ['rung'],
  );
  private readonly storeBytes = this.counter(
    'quantloom_store_bytes_total',
    'Bytes of artifacts that were read from the store (in) or written to it (out).',
    ['direction'],
  );
  private readonly storeSeconds = this.counter(
    'quantloom_store_seconds_total',
    'Time of calls of the store. Calls overlap.',
    ['direction'],
  );
  private readonly cacheLookups = this.counter(
    'quantloom_cache_lookups_total',
    "Artifacts that were wanted of a store that is elsewhere, by whether this machine's cache had them: hit, miss.",
    ['result'],
  );

  /** @param device `cpu`, `webgpu` or `cuda:N` of a worker of `gpu`. */
  constructor(queue: string, device: string | null) {
    this.registry.setDefaultLabels({ queue });
    collectDefaultMetrics({ register: this.registry });
    new Gauge({
      name: 'quantloom_worker_info',
      help: 'Always 1; what runs here is in the labels.',
      labelNames: ['node', 'device'],
      registers: [this.registry],
    }).set({ node: process.versions.node, device: device ?? 'none' }, 1);
    // What an alert waits for has to be there before it happens.
    for (const rung of RUNGS) this.rungs.inc({ rung }, 0);
    for (const result of ['hit', 'miss']) this.cacheLookups.inc({ result }, 0);
  }

  /** Takes notice of one line of the log. Events that nobody counts pass by. */
  observe(event: string, fields: Fields): void {
    if (event === 'activity') {
      const labels = { activity: String(fields.activity), outcome: String(fields.outcome) };
      this.activitySeconds.observe(labels, Number(fields.seconds));
    } else if (event === 'computed' || event === 'computed-twice') this.computed(fields);
    else if (event === 'cached') this.steps.inc({ step: String(fields.step), result: 'cached' });
    else if (event === 'recomputing') this.steps.inc({ step: String(fields.step), result: 'recomputed' });
    else if (event === 'stage-passed') {
      this.tokens.inc({ stage: String(fields.stage) }, Number(fields.tokens));
      this.operations.inc({ stage: String(fields.stage) }, Number(fields.operations));
    } else if (event === 'quantized') {
      this.rungs.inc({ rung: String(fields.rung) });
      if (typeof fields.relativeError === 'number')
        this.relativeError.observe({ linear: String(fields.kind) }, fields.relativeError);
      if (typeof fields.condition === 'number')
        this.condition.observe({ linear: String(fields.kind) }, fields.condition);
    }
  }

  /** Bytes that went in or out of the store. */
  moved(direction: 'in' | 'out', bytes: number, seconds: number): void {
    this.storeBytes.inc({ direction }, bytes);
    this.storeSeconds.inc({ direction }, seconds);
  }

  /** Whether the cache in front of the store had an artifact. */
  soughtInCache(found: boolean): void {
    this.cacheLookups.inc({ result: found ? 'hit' : 'miss' });
  }

  private computed({ step, seconds, parts }: Fields): void {
    this.steps.inc({ step: String(step), result: 'computed' });
    this.stepSeconds.observe({ step: String(step) }, Number(seconds));
    for (const [part, spent] of Object.entries((parts ?? {}) as Record<string, number>))
      this.partSeconds.inc({ step: String(step), part }, spent);
  }

  private histogram(name: string, help: string, labelNames: string[], buckets: number[]): Histogram<string> {
    return new Histogram({ name, help, labelNames, buckets, registers: [this.registry] });
  }

  private counter(name: string, help: string, labelNames: string[]): Counter<string> {
    return new Counter({ name, help, labelNames, registers: [this.registry] });
  }
}
