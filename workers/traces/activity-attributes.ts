import { trace } from '@opentelemetry/api';
import type { Context } from '@temporalio/activity';
import type { ActivityExecuteInput, ActivityInboundCallsInterceptor, Next } from '@temporalio/worker';

/** Fields of an activity's input that say where in the model it works. */
const PLACES = ['block', 'stage', 'slice', 'part'] as const;
/** Of its result: what was done. */
const RESULTS = ['cached', 'tokens', 'relativeError', 'secondsSaved'] as const;
const MOST_CHARACTERS = 100;

/** Says in the span of an activity where in the model it works, and what came of it: numbers and names of stages, nothing of texts or weights. */
export class ActivityAttributes implements ActivityInboundCallsInterceptor {
  constructor(private readonly context: Context) {}

  async execute(input: ActivityExecuteInput, next: Next<ActivityInboundCallsInterceptor, 'execute'>): Promise<unknown> {
    const span = trace.getActiveSpan();
    const { attempt, taskQueue } = this.context.info;
    span?.setAttributes({
      ...chosen(input.args[0], PLACES),
      'quantloom.attempt': attempt,
      'quantloom.queue': taskQueue,
    });
    const output = await next(input);
    span?.setAttributes(chosen(output, RESULTS));
    return output;
  }
}

function chosen(value: unknown, names: readonly string[]): Record<string, string | number | boolean> {
  const found: Record<string, string | number | boolean> = {};
  if (typeof value !== 'object' || value === null) return found;
  for (const name of names) {
    const field = (value as Record<string, unknown>)[name];
    if (typeof field === 'string') found[`quantloom.${name}`] = field.slice(0, MOST_CHARACTERS);
    if (typeof field === 'number' || typeof field === 'boolean') found[`quantloom.${name}`] = field;
  }
  return found;
}
