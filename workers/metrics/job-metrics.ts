import { Client } from '@temporalio/client';
import { Gauge, type Registry } from 'prom-client';
import { PROGRESS_QUERY, type Progress } from '../../engine/spec';
import type { WorkerPlace } from '../connect';

/** Jobs that are asked; a bound on labels and on the work of a scrape. */
const MOST_JOBS = 50;
/** Scrapes closer together than this get the same answers. */
const FRESH_MILLISECONDS = 5_000;
const QUERY_MILLISECONDS = 2_000;

/**
 * Progress of the jobs that run now, as they answer themselves when Prometheus asks. A job that has ended is gone from the page. Every control
 * worker says the same; take the maximum.
 */
export function addJobMetrics(registry: Registry, { connection, namespace }: WorkerPlace): void {
  const client = new Client({ connection, namespace });
  let asked = 0;
  let asking: Promise<void> = Promise.resolve();
  const gauge = (name: string, help: string, labelNames: string[]) =>
    new Gauge({
      ...{ name, help, labelNames, registers: [registry] },
      collect: () => {
        if (performance.now() - asked > FRESH_MILLISECONDS || asked === 0) {
          asked = performance.now();
          asking = ask();
        }
        return asking;
      },
    });
  const progress = gauge('quantloom_job_progress_ratio', 'Layers done of all layers, of running jobs.', [
    'workflow_id',
    'model',
  ]);
  const eta = gauge('quantloom_job_eta_seconds', 'Estimated seconds until a running job is done.', [
    'workflow_id',
    'model',
  ]);
  const review = gauge('quantloom_job_needs_review', '1 for a job that waits for an operator.', [
    'workflow_id',
    'model',
  ]);
  const cached = gauge('quantloom_job_cached_steps', 'Steps of a running job found in the store.', [
    'workflow_id',
    'model',
  ]);
  const computed = gauge('quantloom_job_computed_steps', 'Steps of a running job computed.', ['workflow_id', 'model']);
  const jobs = gauge('quantloom_jobs', 'Jobs that run now.', []);

  async function ask(): Promise<void> {
    const found: { job: string; answer: Progress }[] = [];
    let count = 0;
    const query = "WorkflowType = 'quantizeModel' AND ExecutionStatus = 'Running'";
    for await (const { workflowId } of client.workflow.list({ query })) {
      count += 1;
      if (found.length >= MOST_JOBS) continue;
      // One that does not answer now is left out, not the whole page.
      const answer = await client
        .withDeadline(Date.now() + QUERY_MILLISECONDS, () =>
          client.workflow.getHandle(workflowId).query<Progress>(PROGRESS_QUERY),
        )
        .catch(() => null);
      if (answer) found.push({ job: workflowId, answer });
    }
    for (const each of [progress, eta, review, cached, computed]) each.reset();
    jobs.set(count);
    for (const { job, answer } of found) {
      const labels = { workflow_id: job, model: answer.model };
      progress.set(labels, answer.layers.length > 0 ? answer.layersDone / answer.layers.length : 0);
      if (answer.etaSeconds !== null) eta.set(labels, answer.etaSeconds);
      review.set(labels, answer.needsReview ? 1 : 0);
      cached.set(labels, answer.cached);
      computed.set(labels, answer.computed);
    }
  }
}
