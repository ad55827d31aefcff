/** One JSON object per line on stderr: a machine reads it, `quantloom logs` renders it. */
export function logLine(event: string, fields: Readonly<Record<string, unknown>>): void {
  process.stderr.write(`${JSON.stringify({ time: new Date().toISOString(), pid: process.pid, event, ...fields })}\n`);
}
