/** Files that are remembered. */
const MOST_IDENTITIES = 4096;

/** Identities of the files that were last known to be right, by SHA-256. */
export class RecentIdentities {
  readonly #identities = new Map<string, string>();

  add(sha256: string, identity: string): void {
    this.#identities.delete(sha256);
    this.#identities.set(sha256, identity);
    const [oldest] = this.#identities.keys();
    if (this.#identities.size > MOST_IDENTITIES) this.#identities.delete(oldest as string);
  }

  get(sha256: string): string | undefined {
    return this.#identities.get(sha256);
  }
}
