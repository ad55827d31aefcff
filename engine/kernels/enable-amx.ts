import { spawnSync } from 'node:child_process';
import { loadNativeAddon } from './native-addon';

/**
 * `absent`: the processor or the system has no AMX, or there are no native kernels. `refused`: it has, but products on it crash, hang or are
 * wrong. `used`: products of bfloat16 run on it.
 */
export type AmxState = 'absent' | 'refused' | 'used';

export interface AmxTrial {
  /** How long a few small products may take, the start of the process included; default 10 000. */
  readonly timeoutMilliseconds?: number;
}

const TRIAL = 'process.exit(require(process.argv[1]).amxWorks() ? 0 : 1)';

/**
 * Lets products of bfloat16 use AMX in this process, all its threads included, where a process that is not needed has tried it first. It
 * blocks the calling thread as long as that takes, where there is AMX; once in a process is enough.
 *
 * AMX adds in another order than other instruction sets do, so results differ from theirs in the last bits (native/src/amx.rs).
 */
export function enableAmx({ timeoutMilliseconds = 10_000 }: AmxTrial = {}): AmxState {
  const loaded = loadNativeAddon();
  if (!loaded.addon?.hasAmx()) return 'absent';
  const trial = spawnSync(process.execPath, ['-e', TRIAL, loaded.place], {
    stdio: 'ignore',
    timeout: timeoutMilliseconds,
    killSignal: 'SIGKILL',
  });
  return trial.status === 0 && loaded.addon.useAmx(true) ? 'used' : 'refused';
}
