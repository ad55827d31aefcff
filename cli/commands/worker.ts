import { once } from 'node:events';
import { Option } from 'commander';
import { parseDevice } from '../../engine/devices/device-name';
import { QuantloomError, type QueueName, TASK_QUEUES } from '../../engine/spec';
import { readVersion } from '../../workers/deployment-version';
import { parseMaxMemory, parseShutdownGrace } from '../../workers/limits';
import { START_AFRESH } from '../../workers/memory-bound';
import { parseMetricsAddress } from '../../workers/metrics/metrics-address';
import type { CommandDefinition, Invocation } from '../command';
import { stackFiles } from '../embedded-stack';
import { EXIT } from '../exit-codes';
import { wholeNumber } from '../flag-values';
import { readStackPorts, STACK_HOST } from '../stack-addresses';
import { readLockHolder } from '../stack-lock';
import { externalServer } from '../temporal-client';
import { launchWorker, type ReadyLine, workerReady } from '../worker-process';

export const worker: CommandDefinition = {
  configure(command) {
    command
      .addOption(
        new Option('--queue <queue>', 'which work to take').choices(Object.keys(TASK_QUEUES)).makeOptionMandatory(),
      )
      .addOption(new Option('--threads <n>', 'threads of the numeric code').argParser(wholeNumber))
      .addOption(
        new Option(
          '--device <device>',
          'what a gpu worker computes on: cpu, webgpu, cuda:N, or auto, the best there is (default: QUANTLOOM_DEVICE; else cpu)',
        ),
      )
      .addOption(
        new Option(
          '--max-memory <size>',
          'resident memory after which it starts afresh, such as 24GiB (default: no bound)',
        ),
      )
      .addOption(
        new Option(
          '--shutdown-grace <seconds>',
          'that running activities have to finish in when it is to end (default 5)',
        ),
      )
      .addOption(
        new Option(
          '--metrics-address <host:port>',
          'serve /metrics, /healthz and /readyz there; port 0: any (default: QUANTLOOM_METRICS_ADDRESS; else nowhere)',
        ),
      )
      .addOption(
        new Option(
          '--deployment <name>',
          'worker deployment that it belongs to: jobs stay with the build they began with (default: TEMPORAL_DEPLOYMENT_NAME; else none)',
        ),
      )
      .addOption(new Option('--build-id <id>', 'build of that deployment (default: TEMPORAL_WORKER_BUILD_ID)'));
  },

  async run({ settings, environment, flags, output, signal }) {
    const queue = flags.queue as QueueName;
    const { address, namespace } = externalServer(environment) ?? embeddedServer(settings.home);
    refuseDevice(flags.device as string | undefined, queue);
    const device = queue === 'gpu' ? (flags.device as string | undefined) : 'cpu';
    const told = environmentOf(flags, environment);
    let first = true;
    for (;;) {
      const child = launchWorker({ ...settings, queue, device, logName: null, address, namespace, environment: told });
      if (first) workerReady(child).then((ready) => sayReady(output, ready, { queue, address, pid: child.pid }));
      // Handled as an interruption of this process: the worker finishes what it has begun.
      const interrupt = () => child.kill('SIGTERM');
      signal.addEventListener('abort', interrupt, { once: true });
      if (signal.aborted) interrupt();
      const [code] = (await once(child, 'exit')) as [number | null];
      signal.removeEventListener('abort', interrupt);
      if (signal.aborted) return EXIT.interrupted;
      if (code !== START_AFRESH) return code === 0 ? EXIT.done : EXIT.failed;
      output.note(`worker process ${child.pid} has reached its bound on memory; starting a fresh one`);
      first = false;
    }
  },
};

/** What the worker process is told beside the settings: flags before the environment. */
function environmentOf(flags: Invocation['flags'], environment: Invocation['environment']): Invocation['environment'] {
  const told = (flag: string, variable: string) => (flags[flag] as string | undefined) ?? environment[variable];
  const metricsAddress = told('metricsAddress', 'QUANTLOOM_METRICS_ADDRESS');
  const maxMemory = told('maxMemory', 'QUANTLOOM_MAX_MEMORY');
  const grace = told('shutdownGrace', 'QUANTLOOM_SHUTDOWN_GRACE');
  const version = {
    TEMPORAL_DEPLOYMENT_NAME: told('deployment', 'TEMPORAL_DEPLOYMENT_NAME'),
    TEMPORAL_WORKER_BUILD_ID: told('buildId', 'TEMPORAL_WORKER_BUILD_ID'),
  };
  readVersion(version);
  parseMetricsAddress(metricsAddress);
  parseMaxMemory(maxMemory, flags.maxMemory === undefined ? 'QUANTLOOM_MAX_MEMORY' : '--max-memory');
  parseShutdownGrace(grace, flags.shutdownGrace === undefined ? 'QUANTLOOM_SHUTDOWN_GRACE' : '--shutdown-grace');
  return {
    ...environment,
    QUANTLOOM_METRICS_ADDRESS: metricsAddress,
    QUANTLOOM_MAX_MEMORY: maxMemory,
    QUANTLOOM_SHUTDOWN_GRACE: grace,
    ...version,
  };
}

function sayReady(
  output: Invocation['output'],
  { device, metrics }: ReadyLine,
  { queue, address, pid }: { queue: QueueName; address: string; pid: number | undefined },
): void {
  const where = `worker${device ? ` on ${device}` : ''} polls ${TASK_QUEUES[queue]} at ${address}`;
  output.result(
    { queue, address, pid, ...(device && { device }), ...(metrics && { metrics }) },
    `${where}${metrics ? `; metrics at ${metrics}` : ''}`,
  );
}

function refuseDevice(device: string | undefined, queue: QueueName): void {
  parseDevice(device, '--device');
  if (device === undefined || queue === 'gpu') return;
  throw new QuantloomError('WrongUse', `--device is for --queue gpu: a worker of ${queue} computes on the CPU.`);
}

function embeddedServer(home: string): { address: string; namespace: string } {
  const files = stackFiles(home);
  const ports = readLockHolder(files.lock) && readStackPorts(files.ports);
  if (ports) return { address: `${STACK_HOST}:${ports.port}`, namespace: 'default' };
  throw new QuantloomError(
    'ServerUnavailable',
    'No server to work for: set TEMPORAL_ADDRESS, or start `quantloom up`.',
  );
}
