/** One thing that was verified. */
export interface VerificationCheck {
  readonly name: string;
  /** What was compared, e.g. `file`, `linear`. */
  readonly unit: string;
  /** How many of them. */
  readonly checked: number;
  /** What is wrong: where, what it is, what it should be. At most 20; `findingCount` has all. */
  readonly findings: readonly string[];
  readonly findingCount: number;
  /** What is worth knowing but not wrong, and what could not be checked and why. */
  readonly notes: readonly string[];
}

const FINDINGS_KEPT = 20;

/** Collects the outcome of one check. */
export class CheckRecord implements VerificationCheck {
  checked = 0;
  findingCount = 0;
  readonly findings: string[] = [];
  readonly notes: string[] = [];

  constructor(
    readonly name: string,
    readonly unit: string,
  ) {}

  find(finding: string): void {
    this.findingCount++;
    if (this.findings.length < FINDINGS_KEPT) this.findings.push(finding);
  }

  note(text: string): void {
    this.notes.push(text);
  }

  /** Counts one comparison; a finding when it does not hold. */
  expect(holds: boolean, finding: () => string): void {
    this.checked++;
    if (!holds) this.find(finding());
  }

  result(): VerificationCheck {
    const { name, unit, checked, findings, findingCount, notes } = this;
    return { name, unit, checked, findings, findingCount, notes };
  }
}
