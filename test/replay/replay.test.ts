import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { historyFromJSON } from '@temporalio/common/lib/proto-utils';
import { DefaultLogger, makeTelemetryFilterString, Runtime, Worker } from '@temporalio/worker';

const HISTORIES = join(__dirname, '../histories');
const DIST = join(__dirname, '../../dist');
const BUNDLE = 'workflow-bundle.js';
/** Of workers that send traces; where these go. */
const TRACED = 'workflow-bundle-traced.js';
const SINKS = { exporter: { export: { fn: () => undefined } } };

interface StoredHistory {
  readonly events: Record<string, unknown>[];
}

/** What the history says of its workflow. */
function startOf({ events }: StoredHistory) {
  return events[0]?.workflowExecutionStartedEventAttributes as { workflowId: string; workflowType: { name: string } };
}

function replay(history: StoredHistory, bundle = BUNDLE): Promise<void> {
  const { workflowId } = startOf(history);
  return Worker.runReplayHistory(
    { workflowBundle: { codePath: join(DIST, bundle) }, sinks: SINKS },
    historyFromJSON(history),
    workflowId,
  );
}

function readHistory(file: string) {
  return JSON.parse(readFileSync(join(HISTORIES, file), 'utf8')) as StoredHistory;
}

describe('the workflows as they are now', () => {
  const files = readdirSync(HISTORIES).filter((file) => file.endsWith('.json'));

  beforeAll(() => {
    // A history that does not replay is warned of by Temporal's core, and one is meant not to.
    const filter = makeTelemetryFilterString({ core: 'ERROR' });
    Runtime.install({ logger: new DefaultLogger('ERROR'), telemetryOptions: { logging: { filter } } });
  });

  it('have histories of every workflow type to go by', () => {
    const types = files.map((file) => startOf(readHistory(file)).workflowType.name);
    expect([...new Set(types)].sort()).toEqual([
      'calibrateLayer',
      'cancelParent',
      'passOriginalLayer',
      'quantizeLayer',
      'quantizeModel',
      'requantizeModel',
    ]);
  });

  it.each(files)('go on with a job that began before an upgrade: %s', async (file) => {
    await expect(replay(readHistory(file))).resolves.toBeUndefined();
  });

  it.each(files)('go on where workers begin to send traces: %s', async (file) => {
    await expect(replay(readHistory(file), TRACED)).resolves.toBeUndefined();
  });

  it('would not, if activities came in another order', async () => {
    const { events } = readHistory('stage.json');
    const activities = events.flatMap((event) => {
      const scheduled = event.activityTaskScheduledEventAttributes as { activityType: { name: string } } | undefined;
      return scheduled ? [scheduled.activityType] : [];
    });
    const [inspecting, fetching] = activities as [{ name: string }, { name: string }];
    expect([inspecting.name, fetching.name]).toEqual(['inspectModel', 'fetchModel']);
    [inspecting.name, fetching.name] = [fetching.name, inspecting.name];
    await expect(replay({ events })).rejects.toThrow('Nondeterminism error');
  });
});
