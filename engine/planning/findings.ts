import { type ErrorCode, type PlanEstimate, QuantloomError } from '../spec';

/** What the checks of a plan find. Refusals and warnings keep their order. */
export class Findings {
  readonly refusals: PlanEstimate['refusals'][number][] = [];
  readonly warnings: string[] = [];

  refuse(code: ErrorCode, where: string, message: string): void {
    this.refusals.push({ code, where, message });
  }

  warn(message: string): void {
    this.warnings.push(message);
  }

  /** Runs a check that throws; what it throws becomes a refusal. @returns null then. */
  async attempt<T>(where: string, check: () => T | Promise<T>): Promise<T | null> {
    try {
      return await check();
    } catch (error) {
      if (!QuantloomError.is(error)) throw error;
      this.refuse(error.code, where, error.message);
      return null;
    }
  }
}

/** `a`, `a and b`, `a, b and 7 more`. */
export function listed(names: readonly string[], most = 3): string {
  if (names.length <= most) return names.join(', ').replace(/, ([^,]*)$/, ' and $1');
  return `${names.slice(0, most).join(', ')} and ${names.length - most} more`;
}
