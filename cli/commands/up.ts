import { once } from 'node:events';
import { type Command, Option } from 'commander';
import { QuantloomError } from '../../engine/spec';
import type { CommandDefinition } from '../command';
import { EXIT } from '../exit-codes';
import { wholeNumber } from '../flag-values';
import { labelled } from '../job-report';
import { openSession } from '../session';

export const up: CommandDefinition = {
  configure(command: Command) {
    command
      .addOption(
        new Option('--workers <n>', 'CPU and GPU worker processes each; 0: server only').argParser(wholeNumber),
      )
      .addOption(new Option('--cpu-workers <n>', 'CPU worker processes (default 1)').argParser(wholeNumber))
      .addOption(new Option('--gpu-workers <n>', 'GPU worker processes (default 1)').argParser(wholeNumber))
      .addOption(new Option('--threads <n>', 'threads per worker process').argParser(wholeNumber));
  },

  async run(invocation) {
    const { settings, output, signal, flags } = invocation;
    const { cpuWorkers: cpu, gpuWorkers: gpu } = settings;
    if (Math.min(cpu, gpu) < 0) throw new QuantloomError('WrongUse', 'The number of workers cannot be negative.');
    const control = flags.workers === 0 ? 0 : 1;
    const session = await openSession(invocation, { purpose: 'up', workers: { control, cpu, gpu }, embedded: true });
    try {
      const { stack } = session;
      const host = stack?.host ?? null;
      if (host)
        output.note(`process ${host.pid} (${host.purpose}) runs a stack already; when it ends, this one takes over`);
      output.result(
        {
          address: session.address,
          uiAddress: stack?.uiAddress,
          home: settings.home,
          store: settings.store.location,
          host: host?.pid ?? null,
        },
        labelled([
          ['Temporal', session.address],
          ['Temporal UI', stack?.uiAddress ?? ''],
          ['workers', host ? 'those of the other process' : `${control} control, ${cpu} cpu, ${gpu} gpu`],
          ['state', settings.home],
          ['store', settings.store.location],
        ]),
      );
      if (!signal.aborted) await once(signal, 'abort');
      output.note('stopping');
      return EXIT.interrupted;
    } finally {
      await session.close();
    }
  },
};
