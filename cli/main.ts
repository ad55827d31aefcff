#!/usr/bin/env node
import { closeTraces } from '../workers/traces';
import { runCommandLine } from './run-command-line';

// The versions of what we depend on are fixed: that a later one of Amazon's SDK wants a later Node concerns nobody here.
process.env.AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED ??= 'true';

const interruption = new AbortController();
let interruptions = 0;
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  process.on(signal, () => {
    // The second time the user does not want to wait; children end with this process.
    if (++interruptions > 1) process.exit(130);
    interruption.abort(signal);
  });
}
// A reader that goes away (`| head`) is no error.
process.stdout.on('error', (error: NodeJS.ErrnoException) => process.exit(error.code === 'EPIPE' ? 0 : 1));

runCommandLine({
  args: process.argv.slice(2),
  environment: process.env,
  workingDirectory: process.cwd(),
  stdout: process.stdout,
  stderr: process.stderr,
  signal: interruption.signal,
}).then(async (code) => {
  process.exitCode = code;
  await closeTraces();
  // Native libraries may hold handles that would keep the process; what was written is flushed first.
  process.stdout.write('', () => process.stderr.write('', () => process.exit(code)));
});
