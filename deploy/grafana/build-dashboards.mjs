// Writes dashboards/*.json from the tables below: `node deploy/grafana/build-dashboards.mjs`. Grafana reads the JSON; people read this.
import { writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** Panels: title, unit of Grafana, and expressions by legend. */
const DASHBOARDS = {
  fleet: {
    title: 'Quantloom: fleet',
    panels: [
      ['Workers', 'short', { '{{queue}}': 'count by (queue) (quantloom_worker_info)' }],
      ['Jobs that run', 'short', { jobs: 'max(quantloom_jobs)' }],
      ['Activities', 'ops', { '{{queue}} {{outcome}}': 'queue:quantloom_activities:rate5m' }],
      ['Failed activities', 'percentunit', { '{{activity}}': 'activity:quantloom_activity_failures:ratio_rate5m' }],
      [
        'Slots in use',
        'short',
        { '{{task_queue}}': 'sum by (task_queue) (temporal_worker_task_slots_used{worker_type="ActivityWorker"})' },
      ],
      ['Tokens through stages', 'short', { '{{stage}}': 'stage:quantloom_stage_tokens:rate5m' }],
      ['Floating-point operations', 'FLOPS', { operations: 'quantloom_stage_flops:rate5m' }],
      [
        'Time of activities, 95th percentile',
        's',
        {
          '{{activity}}':
            'histogram_quantile(0.95, sum by (activity, le) (rate(quantloom_activity_seconds_bucket{outcome="computed"}[5m])))',
        },
      ],
      ['Resident memory', 'bytes', { '{{queue}} {{instance}}': 'process_resident_memory_bytes{job="quantloom"}' }],
      ['Processor', 'short', { '{{queue}} {{instance}}': 'rate(process_cpu_seconds_total{job="quantloom"}[5m])' }],
      [
        'Event loop, 99th percentile of its lag',
        's',
        { '{{queue}} {{instance}}': 'nodejs_eventloop_lag_p99_seconds{job="quantloom"}' },
      ],
    ],
  },
  job: {
    title: 'Quantloom: one job',
    variable: { name: 'workflow_id', query: 'label_values(quantloom_job_progress_ratio, workflow_id)' },
    panels: [
      [
        'Layers done',
        'percentunit',
        { '{{model}}': 'workflow_id:quantloom_job_progress:max{workflow_id=~"$workflow_id"}' },
      ],
      ['Time left', 's', { '{{model}}': 'max by (model) (quantloom_job_eta_seconds{workflow_id=~"$workflow_id"})' }],
      [
        'Waits for an operator',
        'short',
        { '{{workflow_id}}': 'max by (workflow_id) (quantloom_job_needs_review{workflow_id=~"$workflow_id"})' },
      ],
      [
        'Steps',
        'short',
        {
          computed: 'max(quantloom_job_computed_steps{workflow_id=~"$workflow_id"})',
          cached: 'max(quantloom_job_cached_steps{workflow_id=~"$workflow_id"})',
        },
      ],
      [
        'Relative output error by kind of linear, median (all jobs)',
        'percentunit',
        {
          '{{linear}}':
            'histogram_quantile(0.5, sum by (linear, le) (rate(quantloom_quantization_relative_error_bucket[5m])))',
        },
      ],
      [
        'Condition of Hessians by kind of linear, 90th percentile, at least (all jobs)',
        'short',
        {
          '{{linear}}': 'histogram_quantile(0.9, sum by (linear, le) (rate(quantloom_hessian_condition_bucket[5m])))',
        },
      ],
      [
        'How Hessians were inverted (all jobs)',
        'short',
        { '{{rung}}': 'sum by (rung) (increase(quantloom_damping_rungs_total[5m]))' },
      ],
    ],
  },
  store: {
    title: 'Quantloom: store',
    panels: [
      ['Traffic', 'Bps', { '{{direction}}': 'direction:quantloom_store_bytes:rate5m' }],
      [
        'Traffic by queue',
        'Bps',
        { '{{queue}} {{direction}}': 'sum by (queue, direction) (rate(quantloom_store_bytes_total[5m]))' },
      ],
      [
        'Cache of a store in a bucket',
        'ops',
        { '{{result}}': 'sum by (result) (rate(quantloom_cache_lookups_total[5m]))' },
      ],
      ['Calls under way', 'short', { '{{direction}}': 'sum by (direction) (rate(quantloom_store_seconds_total[5m]))' }],
      ['Steps found in the store', 'percentunit', { found: 'quantloom_steps_cached:ratio_rate5m' }],
      ['Steps by result', 'ops', { '{{result}}': 'sum by (result) (rate(quantloom_steps_total[5m]))' }],
      [
        'Where steps spend their time',
        'short',
        { '{{step}} {{part}}': 'sum by (step, part) (rate(quantloom_step_part_seconds_total[5m]))' },
      ],
    ],
  },
  temporal: {
    title: 'Quantloom: Temporal',
    panels: [
      [
        'Wait of activities before they start, 90th percentile',
        's',
        {
          '{{task_queue}}':
            'histogram_quantile(0.9, sum by (task_queue, le) (rate(temporal_activity_schedule_to_start_latency_seconds_bucket[5m])))',
        },
      ],
      [
        'Wait of workflow tasks, 90th percentile',
        's',
        {
          '{{task_queue}}':
            'histogram_quantile(0.9, sum by (task_queue, le) (rate(temporal_workflow_task_schedule_to_start_latency_seconds_bucket[5m])))',
        },
      ],
      [
        'Time of workflow tasks, 90th percentile',
        's',
        {
          execution:
            'histogram_quantile(0.9, sum by (le) (rate(temporal_workflow_task_execution_latency_seconds_bucket[5m])))',
        },
      ],
      [
        'Slots free',
        'short',
        { '{{task_queue}} {{worker_type}}': 'sum by (task_queue, worker_type) (temporal_worker_task_slots_available)' },
      ],
      [
        'Pollers',
        'short',
        { '{{task_queue}} {{poller_type}}': 'sum by (task_queue, poller_type) (temporal_num_pollers)' },
      ],
      ['Requests', 'reqps', { '{{operation}}': 'sum by (operation) (rate(temporal_request_total[5m]))' }],
      [
        'Requests, 95th percentile',
        's',
        {
          '{{operation}}':
            'histogram_quantile(0.95, sum by (operation, le) (rate(temporal_request_latency_seconds_bucket[5m])))',
        },
      ],
      ['Workflows in the cache', 'short', { '{{instance}}': 'temporal_sticky_cache_size' }],
    ],
  },
};

const PROMETHEUS = { type: 'prometheus', uid: 'prometheus' };

function panelOf([title, unit, targets], index) {
  return {
    id: index + 1,
    title,
    type: 'timeseries',
    datasource: PROMETHEUS,
    gridPos: { x: 12 * (index % 2), y: 8 * Math.floor(index / 2), w: 12, h: 8 },
    fieldConfig: { defaults: { unit, min: 0, custom: { fillOpacity: 10, showPoints: 'never' } }, overrides: [] },
    options: { legend: { displayMode: 'list', placement: 'bottom' }, tooltip: { mode: 'multi', sort: 'desc' } },
    targets: Object.entries(targets).map(([legendFormat, expr], target) => ({
      refId: String.fromCharCode(65 + target),
      datasource: PROMETHEUS,
      expr,
      legendFormat,
    })),
  };
}

function dashboardOf(name, { title, panels, variable }) {
  const list = variable
    ? [{ ...variable, type: 'query', datasource: PROMETHEUS, refresh: 2, includeAll: true, multi: true, label: 'job' }]
    : [];
  return {
    uid: `quantloom-${name}`,
    title,
    tags: ['quantloom'],
    schemaVersion: 39,
    version: 1,
    editable: false,
    refresh: '15s',
    time: { from: 'now-1h', to: 'now' },
    templating: { list },
    panels: panels.map(panelOf),
  };
}

/** Text of every file, by name. */
export function dashboardFiles() {
  return Object.fromEntries(
    Object.entries(DASHBOARDS).map(([name, content]) => [
      `${name}.json`,
      `${JSON.stringify(dashboardOf(name, content), null, 2)}\n`,
    ]),
  );
}

const here = fileURLToPath(import.meta.url);
if (process.argv[1] === here) {
  for (const [name, text] of Object.entries(dashboardFiles()))
    writeFileSync(join(dirname(here), 'dashboards', name), text);
}
