import prettyBytes from 'pretty-bytes';
import { planModel } from '../../engine/planning';
import type { PlanEstimate, QuantizationSpec } from '../../engine/spec';
import { type StorePlace, storeDirectoryOf } from '../../engine/store';
import type { CommandDefinition } from '../command';
import { EXIT } from '../exit-codes';
import { labelled } from '../job-report';
import { pinnedSpec } from '../pinned-spec';
import { significant } from '../quantities';
import { addSpecFlags } from '../spec-flags';
import { specFromFlags } from '../spec-from-flags';
import { workflowIdOf } from '../workflow-id';

/** Reads shapes only; needs no server. Exit code 1 when the job would be refused. */
export const plan: CommandDefinition = {
  configure: addSpecFlags,

  async run(invocation) {
    const { args, flags, settings, workingDirectory, output, signal } = invocation;
    const asked = specFromFlags({ model: args[0], flags, defaults: settings.specDefaults, workingDirectory });
    const spec = await pinnedSpec(asked, invocation);
    const storeDirectory = storeDirectoryOf(settings.store);
    const { estimate } = await planModel(spec, { storeDirectory, sources: settings.sources, signal });
    output.result({ id: workflowIdOf(spec), spec, estimate }, planReport(spec, estimate, settings.store));
    return estimate.refusals.length === 0 ? EXIT.done : EXIT.failed;
  },
};

function planReport(spec: QuantizationSpec, estimate: PlanEstimate, store: StorePlace): string {
  const isDirectory = storeDirectoryOf(store) !== null;
  const free = isDirectory ? `${prettyBytes(estimate.diskFreeBytes)} free` : `in ${store.location}`;
  const memory = Object.entries(estimate.peakMemoryBytes).sort(([, a], [, b]) => b - a);
  const facts = [
    ['model', `${spec.model}: ${estimate.architecture}, ${significant(estimate.parameters / 1e6)} million parameters`],
    [
      'quantized',
      `${estimate.linears} linears in ${estimate.blocks} blocks, ${estimate.bitsPerWeight.toFixed(3)} bits per weight`,
    ],
    ['size', `${prettyBytes(estimate.bytesToRead)} to ${prettyBytes(estimate.outputBytes)}`],
    ['output', spec.output],
    ['store', `${prettyBytes(estimate.storeBytes)} needed, ${free}`],
    ['calibration', `${estimate.calibrationTokens} tokens`],
    ['work', `${estimate.activities} activities, ${significant(estimate.floatingPointOperations / 1e12)} TFLOP`],
    ...memory
      .slice(0, 3)
      .map(([activity, bytes], rank) => [rank === 0 ? 'peak memory' : '', `${prettyBytes(bytes)} in ${activity}`]),
    ['job', workflowIdOf(spec)],
  ];
  return [
    labelled(facts),
    ...estimate.warnings.map((warning) => `warning: ${warning}`),
    ...estimate.refusals.map(({ code, where, message }) => `refused: ${where}: ${message} [${code}]`),
  ].join('\n');
}
