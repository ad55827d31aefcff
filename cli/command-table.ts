import type { CommandDefinition } from './command';

/** A row per command. Its code is loaded when it is asked for, so that the others do not slow it down. */
export interface CommandRow {
  readonly usage: string;
  readonly summary: string;
  load(): CommandDefinition;
}

/** Commands that share a first word. */
export interface CommandGroup {
  readonly usage: string;
  readonly summary: string;
  readonly commands: readonly CommandRow[];
}

const SCHEDULE_COMMANDS: readonly CommandRow[] = [
  {
    usage: 'create <name> [model]',
    summary: 'quantize a model again whenever it has changed, as a cron expression says',
    load: () => require('./commands/schedule/create').create,
  },
  {
    usage: 'list',
    summary: 'list schedules, and what became of the last run',
    load: () => require('./commands/schedule/list').list,
  },
  {
    usage: 'describe <name>',
    summary: 'print the settings of a schedule and its last runs',
    load: () => require('./commands/schedule/describe').describe,
  },
  {
    usage: 'trigger <name>',
    summary: 'start a run now',
    load: () => require('./commands/schedule/steer').trigger,
  },
  { usage: 'pause <name>', summary: 'start no more runs', load: () => require('./commands/schedule/steer').pause },
  { usage: 'resume <name>', summary: 'start runs again', load: () => require('./commands/schedule/steer').resume },
  {
    usage: 'delete <name>',
    summary: 'remove a schedule; its runs and results stay',
    load: () => require('./commands/schedule/steer').remove,
  },
  {
    usage: 'backfill <name>',
    summary: 'start the runs that were due in a time that has passed, one after another',
    load: () => require('./commands/schedule/steer').backfill,
  },
];

export const COMMAND_TABLE: readonly (CommandRow | CommandGroup)[] = [
  {
    usage: 'quantize [model]',
    summary: 'quantize a model into a checkpoint; goes on where an earlier run of the same command stopped',
    load: () => require('./commands/quantize').quantize,
  },
  {
    usage: 'convert <model>',
    summary: 'write the codes of a quantized checkpoint in other formats, without a change',
    load: () => require('./commands/convert').convert,
  },
  {
    usage: 'imatrix <model>',
    summary: "write llama.cpp's importance matrix of a model on a calibration text",
    load: () => require('./commands/imatrix').imatrix,
  },
  {
    usage: 'plan [model]',
    summary: 'print sizes, memory, work and refusals; nothing is done',
    load: () => require('./commands/plan').plan,
  },
  { usage: 'list', summary: 'list jobs', load: () => require('./commands/list').list },
  { usage: 'status <id>', summary: 'print the progress of a job', load: () => require('./commands/status').status },
  { usage: 'logs <id>', summary: 'print what happened in a job', load: () => require('./commands/logs').logs },
  { usage: 'pause <id>', summary: 'start no more work of a job', load: () => require('./commands/steer').pause },
  { usage: 'resume <id>', summary: 'go on with a paused job', load: () => require('./commands/steer').resume },
  {
    usage: 'cancel <id>',
    summary: 'end a job; results so far stay in the store',
    load: () => require('./commands/steer').cancel,
  },
  {
    usage: 'retry <id>',
    summary: 'try the step that needs review again',
    load: () => require('./commands/steer').retry,
  },
  { usage: 'skip <id>', summary: 'keep a layer in 16 bit and go on', load: () => require('./commands/steer').skip },
  {
    usage: 'schedule',
    summary: 'quantize models again by the clock: create, list, describe, trigger, pause, resume, delete, backfill',
    commands: SCHEDULE_COMMANDS,
  },
  {
    usage: 'verify <dir>',
    summary: 'load a checkpoint back and check every tensor',
    load: () => require('./commands/verify').verify,
  },
  {
    usage: 'evaluate <model>',
    summary: 'measure perplexity on a text',
    load: () => require('./commands/evaluate').evaluate,
  },
  { usage: 'generate <model>', summary: 'continue a prompt', load: () => require('./commands/generate').generate },
  {
    usage: 'up',
    summary: 'run the Temporal dev server and workers until interrupted',
    load: () => require('./commands/up').up,
  },
  { usage: 'worker', summary: 'run one worker until interrupted', load: () => require('./commands/worker').worker },
  {
    usage: 'gc',
    summary: 'remove artifacts that have not been used for a while',
    load: () => require('./commands/gc').gc,
  },
  {
    usage: 'demo',
    summary: 'show all of it on the model that ships with Quantloom',
    load: () => require('./commands/demo').demo,
  },
];
