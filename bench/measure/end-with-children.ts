import { rmSync } from 'node:fs';
import { endEverything } from './run-measured';

const EXIT_CODES = { SIGINT: 130, SIGTERM: 143, SIGHUP: 129 } as const;

/** When this process is told to end, what it runs ends first, then `directory` is removed. */
export function endWithChildren(directory: string): void {
  let ending = false;
  for (const [signal, exitCode] of Object.entries(EXIT_CODES)) {
    process.on(signal, () => {
      if (ending) return;
      ending = true;
      endEverything().finally(() => {
        rmSync(directory, { recursive: true, force: true });
        process.exit(exitCode);
      });
    });
  }
}
