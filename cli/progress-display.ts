import type { Progress } from '../engine/spec';
import type { CommandOutput } from './command-output';
import { progressBlock, progressEvents } from './progress-view';

export interface ProgressDisplay {
  show(progress: Progress): void;
  /** A line that stays. */
  note(line: string): void;
  /** Leaves the last state on the screen. */
  end(): void;
}

/** A redrawn block where somebody watches a terminal, else a line per event. Both on stderr. */
export function progressDisplay(output: CommandOutput, prefix = ''): ProgressDisplay {
  return output.live ? redrawnBlock(output) : eventLines(output, prefix);
}

function redrawnBlock(output: CommandOutput): ProgressDisplay {
  // Loaded here because it is needed on a terminal only.
  const { createLogUpdate } = require('log-update') as typeof import('log-update', { with: {
    'resolution-mode': 'import',
  }});
  const block = createLogUpdate(output.stderr as NodeJS.WriteStream, { showCursor: true });
  let last = '';
  return {
    show(progress) {
      last = progressBlock(progress).join('\n');
      block(last);
    },
    note(line) {
      block.clear();
      output.note(line);
      if (last !== '') block(last);
    },
    end: () => block.done(),
  };
}

function eventLines(output: CommandOutput, prefix: string): ProgressDisplay {
  let before: Progress | null = null;
  return {
    show(progress) {
      for (const event of progressEvents(before, progress)) output.note(`${prefix}${event}`);
      before = progress;
    },
    note: (line) => output.note(line),
    end() {},
  };
}
