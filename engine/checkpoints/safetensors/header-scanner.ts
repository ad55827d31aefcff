/** What is wrong with a header, before the file is named. */
export class HeaderFault extends Error {}

/** For messages: quoted on one line whatever it holds, and never long. */
export function quoted(text: string): string {
  const shown = text.length <= 120 ? text : `${text.slice(0, 100)}…`;
  const escaped = JSON.stringify(shown).replace(/[\u007f-\u009f\u2028\u2029]/g, '\u{fffd}');
  return shown === text ? escaped : `${escaped} (${text.length} characters)`;
}

const QUOTE = 0x22;
const BACKSLASH = 0x5c;

/**
 * Reads JSON whose structure is known in advance, left to right, and stops at the first deviation. Unlike JSON.parse it sees
 * duplicate keys and the digits of a number, and spends nothing on a hostile text but what the known structure takes.
 */
export class HeaderScanner {
  private at = 0;

  constructor(private readonly text: string) {}

  /** Calls `readValue` for each key, after its colon. `what` names the object in messages. */
  object(what: string, readValue: (key: string) => void): void {
    this.expect('{', what);
    const keys = new Set<string>();
    if (this.accepts('}')) return;
    do {
      const key = this.string(`a key of ${what}`);
      if (keys.has(key)) throw new HeaderFault(`the key ${quoted(key)} stands twice in ${what}`);
      keys.add(key);
      this.expect(':', what);
      readValue(key);
    } while (this.accepts(','));
    this.expect('}', what);
  }

  /** A list of safe, non-negative integers. */
  integers(what: string, maxLength: number): number[] {
    this.expect('[', what);
    const values: number[] = [];
    if (this.accepts(']')) return values;
    do {
      if (values.length === maxLength) throw new HeaderFault(`${what} has more than ${maxLength} entries`);
      values.push(this.integer(what));
    } while (this.accepts(','));
    this.expect(']', what);
    return values;
  }

  string(what: string): string {
    this.skipSpaces();
    const start = this.at;
    if (this.text.charCodeAt(start) !== QUOTE) throw this.unexpected(`a string for ${what}`);
    // By hand: a regular expression would run out of stack on a hostile string.
    let end = start + 1;
    while (end < this.text.length && this.text.charCodeAt(end) !== QUOTE) {
      end += this.text.charCodeAt(end) === BACKSLASH ? 2 : 1;
    }
    const value = parsedString(this.text.slice(start, end + 1));
    if (value === null) throw this.unexpected(`a string for ${what}`);
    if (/\p{Surrogate}/u.test(value)) throw new HeaderFault(`${what} holds half of a surrogate pair: ${quoted(value)}`);
    this.at = end + 1;
    return value;
  }

  /** Whether the text goes on with `null`, which is then read. */
  acceptsNull(): boolean {
    this.skipSpaces();
    if (!this.text.startsWith('null', this.at)) return false;
    this.at += 4;
    return true;
  }

  end(): void {
    this.skipSpaces();
    if (this.at < this.text.length) throw this.unexpected('nothing after the closing brace but spaces');
  }

  private integer(what: string): number {
    this.skipSpaces();
    let end = this.at;
    while (end < this.text.length && '+-.0123456789Ee'.includes(this.text[end] as string)) end++;
    if (end === this.at) throw this.unexpected(`an integer for ${what}`);
    const token = this.text.slice(this.at, end);
    const value = Number(token);
    if (String(value) !== token || !Number.isSafeInteger(value) || value < 0) {
      throw new HeaderFault(`${what} has ${quoted(token)}, which is not an integer from 0 to 2^53 - 1`);
    }
    this.at = end;
    return value;
  }

  private expect(character: string, what: string): void {
    if (!this.accepts(character)) throw this.unexpected(`'${character}' of ${what}`);
  }

  private accepts(character: string): boolean {
    this.skipSpaces();
    if (this.text[this.at] !== character) return false;
    this.at++;
    return true;
  }

  private skipSpaces(): void {
    while (this.at < this.text.length && ' \t\n\r'.includes(this.text[this.at] as string)) this.at++;
  }

  private unexpected(wanted: string): HeaderFault {
    const found = this.at < this.text.length ? quoted(this.text.slice(this.at, this.at + 20)) : 'the end';
    return new HeaderFault(`the JSON has ${found} at character ${this.at} where ${wanted} was expected`);
  }
}

function parsedString(token: string): string | null {
  try {
    return JSON.parse(token);
  } catch {
    return null;
  }
}
