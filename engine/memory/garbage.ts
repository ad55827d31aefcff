/** That may be garbage before somebody looks. */
const GARBAGE_BYTES = 128 << 20;

/** Node was started with `--expose-gc`. */
const { gc: collectGarbage } = globalThis as { gc?: () => void };

let garbageBytes = 0;

/** So much memory outside of V8's heap is read no more. V8 counts some of it late and some not at all: without a word it would pile up. */
export function leaveGarbage(bytes: number): void {
  garbageBytes += bytes;
  if (garbageBytes < GARBAGE_BYTES) return;
  garbageBytes = 0;
  collectGarbage?.();
}
