import { hostname } from 'node:os';
import { join } from 'node:path';
import { AsyncLocalStorageContextManager } from '@opentelemetry/context-async-hooks';
import { OTLPTraceExporter } from '@opentelemetry/exporter-trace-otlp-http';
import { detectResourcesSync, envDetectorSync, Resource } from '@opentelemetry/resources';
import { BasicTracerProvider, BatchSpanProcessor } from '@opentelemetry/sdk-trace-base';
import type { WorkflowClientInterceptor } from '@temporalio/client';
import {
  makeWorkflowExporter,
  OpenTelemetryActivityInboundInterceptor,
  OpenTelemetryWorkflowClientInterceptor,
} from '@temporalio/interceptors-opentelemetry';
import type { ActivityInterceptorsFactory, InjectedSinks } from '@temporalio/worker';
import type { Sinks } from '@temporalio/workflow';
import { packageRoot } from '../../engine/sources';
import { ActivityAttributes } from './activity-attributes';

/** A collector that does not answer keeps no process from ending. */
const CLOSE_MILLISECONDS = 3_000;

/** The spans of this process, on their way to a collector. */
export interface Traces {
  /** Of activities. */
  readonly activity: ActivityInterceptorsFactory;
  /** Of clients that start workflows. */
  readonly client: WorkflowClientInterceptor;
  /** The workflows that send spans, and where these go. */
  readonly workflows: { readonly bundle: string; readonly sinks: InjectedSinks<Sinks> };
  /** Sends what is left. */
  close(): Promise<void>;
}

/**
 * Sends traces over OTLP (http/json) to where OTEL_EXPORTER_OTLP_ENDPOINT says, as the other OTEL_* variables say. Once per process.
 *
 * @param part of the program: `command-line`, `worker-gpu`.
 */
export function openTraces(part: string): Traces {
  const own = {
    'service.name': 'quantloom',
    'service.instance.id': `${hostname()}-${process.pid}`,
    'quantloom.part': part,
  };
  const resource = new Resource(own).merge(detectResourcesSync({ detectors: [envDetectorSync] }));
  const processor = new BatchSpanProcessor(new OTLPTraceExporter());
  const provider = new BasicTracerProvider({ resource, spanProcessors: [processor] });
  provider.register({ contextManager: new AsyncLocalStorageContextManager().enable() });
  const exporter = makeWorkflowExporter(processor, resource).export;
  return {
    activity: (context) => ({
      inbound: new Both(new OpenTelemetryActivityInboundInterceptor(context), new ActivityAttributes(context)),
    }),
    client: new Starts(),
    workflows: {
      bundle: join(packageRoot(), 'dist', 'workflow-bundle-traced.js'),
      sinks: {
        exporter: {
          export: {
            // Of all that is known of a workflow: what tells it from others. Specifications and memos are not for collectors.
            fn: ({ workflowId, runId, workflowType, taskQueue, attempt }, ...spans) =>
              exporter.fn({ workflowId, runId, workflowType, taskQueue, attempt } as never, ...(spans as [never])),
          },
        },
      },
    },
    async close() {
      const late = new Promise<void>((resolve) => setTimeout(resolve, CLOSE_MILLISECONDS).unref());
      await Promise.race([provider.shutdown().catch(() => undefined), late]);
    },
  };
}

type Execute = NonNullable<NonNullable<ReturnType<ActivityInterceptorsFactory>['inbound']>['execute']>;

/** One inside the other. */
class Both {
  constructor(
    private readonly outer: { execute: Execute },
    private readonly inner: { execute: Execute },
  ) {}

  execute(...[input, next]: Parameters<Execute>): ReturnType<Execute> {
    return this.outer.execute(input, (input) => this.inner.execute(input, next));
  }
}

/** Spans of starts alone: as the workflows have it. */
class Starts extends OpenTelemetryWorkflowClientInterceptor {
  override startUpdate: OpenTelemetryWorkflowClientInterceptor['startUpdate'] = (input, next) => next(input);
  override signal: OpenTelemetryWorkflowClientInterceptor['signal'] = (input, next) => next(input);
  override query: OpenTelemetryWorkflowClientInterceptor['query'] = (input, next) => next(input);
  override describe: OpenTelemetryWorkflowClientInterceptor['describe'] = (input, next) => next(input);
}
