import {
  OpenTelemetryInboundInterceptor,
  OpenTelemetryInternalsInterceptor,
  OpenTelemetryOutboundInterceptor,
} from '@temporalio/interceptors-opentelemetry/lib/workflow';
import type {
  Next,
  QueryInput,
  SignalInput,
  UpdateInput,
  WorkflowInboundCallsInterceptor,
  WorkflowInterceptors,
} from '@temporalio/workflow';

type Inner<Name extends keyof WorkflowInboundCallsInterceptor> = Next<WorkflowInboundCallsInterceptor, Name>;

/**
 * Spans of workflows alone. Whoever watches a job asks for its progress twice a second, and steering would be answered a turn later than
 * without spans: a job that began without them could not go on.
 */
class Inbound extends OpenTelemetryInboundInterceptor {
  override handleQuery = (input: QueryInput, next: Inner<'handleQuery'>) => next(input);
  override handleUpdate = (input: UpdateInput, next: Inner<'handleUpdate'>) => next(input);
  override validateUpdate = (input: UpdateInput, next: Inner<'validateUpdate'>) => next(input);
  override handleSignal = (input: SignalInput, next: Inner<'handleSignal'>) => next(input);
}

/** Of the bundle that workers with traces run (scripts/bundle-workflows.mjs): they add a header to what is scheduled, and change no command. */
export const interceptors = (): WorkflowInterceptors => ({
  inbound: [new Inbound()],
  outbound: [new OpenTelemetryOutboundInterceptor()],
  internals: [new OpenTelemetryInternalsInterceptor()],
});
