import { once } from 'node:events';
import { Option } from 'commander';
import { parseDevice } from '../../engine/devices/device-name';
import { QuantloomError, type QueueName, TASK_QUEUES } from '../../engine/spec';
import { readVersion } from '../../workers/deployment-version';
import { parseMetricsAddress } from '../../workers/metrics/metrics-address';
import type { CommandDefinition } from '../command';
import { stackFiles } from '../embedded-stack';
import { EXIT } from '../exit-codes';
import { wholeNumber } from '../flag-values';
import { readStackPorts, STACK_HOST } from '../stack-addresses';
import { readLockHolder } from '../stack-lock';
import { externalServer } from '../temporal-client';
import { launchWorker, workerReady } from '../worker-process';

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
    const device = flags.device as string | undefined;
    refuseDevice(device, queue);
    const metricsAddress = (flags.metricsAddress as string | undefined) ?? environment.QUANTLOOM_METRICS_ADDRESS;
    parseMetricsAddress(metricsAddress);
    const told = {
      ...environment,
      QUANTLOOM_METRICS_ADDRESS: metricsAddress,
      TEMPORAL_DEPLOYMENT_NAME: (flags.deployment as string | undefined) ?? environment.TEMPORAL_DEPLOYMENT_NAME,
      TEMPORAL_WORKER_BUILD_ID: (flags.buildId as string | undefined) ?? environment.TEMPORAL_WORKER_BUILD_ID,
    };
    readVersion(told);
    const child = launchWorker({ ...settings, queue, device, logName: null, address, namespace, environment: told });
    workerReady(child).then(({ device, metrics }) =>
      output.result(
        { queue, address, pid: child.pid, ...(device && { device }), ...(metrics && { metrics }) },
        `worker${device ? ` on ${device}` : ''} polls ${TASK_QUEUES[queue]} at ${address}${metrics ? `; metrics at ${metrics}` : ''}`,
      ),
    );
    // Handled as an interruption of this process: the worker finishes what it has begun.
    signal.addEventListener('abort', () => child.kill('SIGTERM'), { once: true });
    const [code] = (await once(child, 'exit')) as [number | null];
    if (signal.aborted) return EXIT.interrupted;
    return code === 0 ? EXIT.done : EXIT.failed;
  },
};

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
