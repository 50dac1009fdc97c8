/**
 * The header lines of one message as positions in its latin1 text. A line is two numbers: where its
 * name begins and where its colon stands, the colon negated once the line is dropped from what is
 * forwarded. Lines that nobody touches are copied as slices of the text, never rebuilt.
 */

/**
 * All header lines at once (RFC 9112 §5): a token, a colon without space before it, a value without
 * control characters, CRLF. It rules out obs-fold, bare CR and LF, NUL and odd names together.
 */
const HEADER_LINES = /(?:[!#$%&'*+\-.^_`|~0-9A-Za-z]+:[\t\x20-\x7e\x80-\xff]*\r\n)*/y;

/** Whether `text` consists of valid header lines from `start` to `end` exactly. */
export function isHeaderBlock(text: string, start: number, end: number): boolean {
  HEADER_LINES.lastIndex = start;
  return HEADER_LINES.test(text) && HEADER_LINES.lastIndex === end;
}

/** Whether the validated name that begins at `at` is `lower`, in any case. The lengths are equal. */
export function nameIs(text: string, at: number, lower: string): boolean {
  for (let index = 0; index < lower.length; index++) {
    // Setting bit 5 lowers letters and keeps digits and "-"; names hold no control characters.
    if ((text.charCodeAt(at + index) | 0x20) !== lower.charCodeAt(index)) return false;
  }
  return true;
}

/** `text` from `start` to `end` without spaces and tabs at its ends. */
export function sliceTrimmed(text: string, start: number, end: number): string {
  let from = start;
  let to = end;
  while (from < to && isBlank(text.charCodeAt(from))) from++;
  while (to > from && isBlank(text.charCodeAt(to - 1))) to--;
  return text.slice(from, to);
}

function isBlank(code: number): boolean {
  return code === 0x20 || code === 0x09;
}

export class HeaderBlock {
  /** The head's text; header lines end at `end`, where the blank line stands. */
  readonly text: string;
  readonly end: number;
  /** Start and colon of each line; the colon is negative once the line is dropped. */
  readonly lines: number[] = [];

  constructor(text: string, end: number) {
    this.text = text;
    this.end = end;
  }

  get count(): number {
    return this.lines.length / 2;
  }

  /** The value of a header, several lines joined by ", "; `lowerName` in lower case. Sees dropped lines. */
  header(lowerName: string): string | undefined {
    let found: string | undefined;
    const { lines, text } = this;
    for (let index = 0; index < lines.length; index += 2) {
      const start = lines[index] as number;
      const colon = Math.abs(lines[index + 1] as number);
      if (colon - start !== lowerName.length || !nameIs(text, start, lowerName)) continue;
      const value = sliceTrimmed(text, colon + 1, this.lineEnd(index));
      found = found === undefined ? value : `${found}, ${value}`;
    }
    return found;
  }

  /** Where the line at `index` (a position in `lines`) ends, before its CRLF. */
  lineEnd(index: number): number {
    const next = this.lines[index + 2];
    return (next ?? this.end) - 2;
  }

  /** Whether every line is forwarded. */
  get untouched(): boolean {
    const { lines } = this;
    for (let index = 1; index < lines.length; index += 2) {
      if ((lines[index] as number) < 0) return false;
    }
    return true;
  }

  /** Leaves the line at `index` (a position in `lines`) out of what is forwarded. */
  drop(index: number): void {
    this.lines[index + 1] = -Math.abs(this.lines[index + 1] as number);
  }

  /** Leaves out every line of this name. */
  dropName(lowerName: string): void {
    const { lines, text } = this;
    for (let index = 0; index < lines.length; index += 2) {
      const start = lines[index] as number;
      const colon = Math.abs(lines[index + 1] as number);
      if (colon - start === lowerName.length && nameIs(text, start, lowerName)) this.drop(index);
    }
  }

  /** Whether a line of this name is still forwarded. */
  keeps(lowerName: string): boolean {
    const { lines, text } = this;
    for (let index = 0; index < lines.length; index += 2) {
      const start = lines[index] as number;
      const colon = lines[index + 1] as number;
      if (colon - start === lowerName.length && nameIs(text, start, lowerName)) return true;
    }
    return false;
  }

  /** The lines that are forwarded, each with its CRLF. */
  kept(): string {
    return this.#kept(-1);
  }

  /** The first line of the head as it came, and the lines that are forwarded. */
  keptFromStart(): string {
    return this.#kept(0);
  }

  /** `start` is where a range that is forwarded has begun, or -1. */
  #kept(start: number): string {
    const { lines, text } = this;
    let out = "";
    let from = start;
    for (let index = 0; index < lines.length; index += 2) {
      const at = lines[index] as number;
      if ((lines[index + 1] as number) < 0) {
        if (from !== -1) out += text.slice(from, at);
        from = -1;
      } else if (from === -1) {
        from = at;
      }
    }
    return from === -1 ? out : out + text.slice(from, this.end);
  }

  /** Drops the hop-by-hop lines that a Connection header nominates (RFC 9110 §7.6.1). */
  dropNominated(connection: string): void {
    const tokens = connection.toLowerCase().split(",");
    if (tokens.length > FEW_TOKENS_MAX) {
      this.#dropAmong(new Set(tokens.map((token) => token.trim())));
      return;
    }
    for (const token of tokens) {
      const name = token.trim();
      if (name !== "" && !NEVER_NOMINATED.test(name)) this.dropName(name);
    }
  }

  /** The same for many names, of which a client may send thousands: each line is looked up once. */
  #dropAmong(names: ReadonlySet<string>): void {
    const { lines, text } = this;
    for (let index = 0; index < lines.length; index += 2) {
      const name = text.slice(lines[index], Math.abs(lines[index + 1] as number)).toLowerCase();
      if (names.has(name) && !NEVER_NOMINATED.test(name)) this.drop(index);
    }
  }
}

/** Names that are looked for one by one. */
const FEW_TOKENS_MAX = 8;

/**
 * Names that a Connection header cannot take off a message: removing them would change whom the
 * message is for, how long it is, or who sent it.
 */
const NEVER_NOMINATED =
  /^(?:host|content-length|content-type|transfer-encoding|cookie|set-cookie|authorization|date|x-forwarded-.*)$/;
