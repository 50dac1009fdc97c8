/**
 * The plain part of YAML, in which nearly all resources are written, read in one pass: block maps
 * and lists, flow collections and quoted scalars of one line, JSON of any number of lines. The
 * library reads everything and knows every place, at twenty times the cost; it is asked wherever a
 * text has anything else, or is wrong. What is read here is exactly what the library reads.
 *
 * Left to the library: tags, anchors, aliases, merge keys, block scalars, scalars and flow
 * collections of several lines, tabs, numbers that are no plain decimals, characters beyond ASCII.
 */
import type { JsonValue } from "../base/json.ts";

export interface PlainDocument {
  readonly value: JsonValue;
  /** Where the document's first key or bracket stands. */
  readonly offset: number;
}

/** The one document of `text`; undefined where the library has to read it. */
export function readPlainYaml(text: string): PlainDocument | undefined {
  if (NOT_PLAIN.test(text)) return undefined;
  try {
    return new PlainReader(text).read();
  } catch (error) {
    if (error === NOT_READ) return undefined;
    throw error;
  }
}

/** Tabs, line ends of other systems, control characters, everything beyond ASCII. */
const NOT_PLAIN = /[^\n\x20-\x7e]/;
const NOT_READ = new Error("This is left to the library");
const DEPTH_MAX = 48;

const MARKER = /--- *\n/y;
const KEY = /[A-Za-z_][-A-Za-z0-9_./]{0,126}:/y;
const QUOTED_KEY = /"[^"\\\n]{0,126}":/y;
const DOUBLE_QUOTED = /"[^"\\\n]*(?:\\["\\/nrt][^"\\\n]*)*"/y;
const SINGLE_QUOTED = /'[^'\n]*(?:''[^'\n]*)*'/y;
const PLAIN_IN_FLOW = /[^\n,[\]{}#]+/y;

/** The first character of a plain scalar: none that says something in YAML. */
const PLAIN_START = /^[A-Za-z0-9/_$(^]/;
const DECIMAL = /^(?:0|-?[1-9][0-9]{0,14}|-?[1-9][0-9]{0,6}\.[0-9]{1,7}|0\.[0-9]{1,14})$/;
/** Every other number that begins with a digit, by YAML 1.1 or 1.2. */
const OTHER_NUMBER = /^(?:[0-9][0-9_]*(?:\.[0-9]*)?(?:[eE][-+]?[0-9]+)?|0[box][0-9a-fA-F_]+)$/;
const WORDS: ReadonlyMap<string, JsonValue> = new Map<string, JsonValue>([
  ...["null", "Null", "NULL"].map((word) => [word, null] as const),
  ..."true True TRUE y Y yes Yes YES on On ON".split(" ").map((word) => [word, true] as const),
  ..."false False FALSE n N no No NO off Off OFF".split(" ").map((word) => [word, false] as const),
]);
const WORD_LENGTH_MAX = 5;

const OPEN_MAP = 0x7b;
const CLOSE_MAP = 0x7d;
const OPEN_LIST = 0x5b;
const CLOSE_LIST = 0x5d;
const COMMA = 0x2c;
const DOUBLE_QUOTE = 0x22;
const SINGLE_QUOTE = 0x27;
const DASH = 0x2d;
const HASH = 0x23;
const SPACE = 0x20;
const NEWLINE = 0x0a;

/** Stands at `#at`; between lines at the first content of the next one. */
class PlainReader {
  readonly #text: string;
  #at = 0;
  /** The column of the content at which the reader stands; -1 at the end of the text. */
  #column = 0;
  #depth = 0;
  /** Whether a flow collection may go on in the next line: where it is all of the document. */
  #lines = false;

  constructor(text: string) {
    this.#text = text;
  }

  read(): PlainDocument {
    if (this.#text.startsWith("---") && !this.#pass(MARKER)) throw NOT_READ;
    this.#toContent();
    const offset = this.#at;
    if (this.#sign() !== OPEN_MAP) {
      const value = this.#column === 0 ? this.#blockMap(0) : undefined;
      if (value === undefined || this.#at < this.#text.length) throw NOT_READ;
      return { value, offset };
    }
    // JSON, or what looks like it: nothing around it could be mistaken for a part of it.
    this.#lines = true;
    const value = this.#flowValue();
    this.#skipSpace();
    if (this.#at !== this.#text.length) throw NOT_READ;
    return { value, offset };
  }

  /** Passes over what `pattern` finds here; whether it finds anything. */
  #pass(pattern: RegExp): boolean {
    pattern.lastIndex = this.#at;
    const found = pattern.test(this.#text);
    if (found) this.#at = pattern.lastIndex;
    return found;
  }

  #sign(): number {
    return this.#text.charCodeAt(this.#at);
  }

  #skipSpaces(): void {
    while (this.#sign() === SPACE) this.#at += 1;
  }

  /** Between the signs of a flow collection. */
  #skipSpace(): void {
    for (;;) {
      const sign = this.#sign();
      if (sign !== SPACE && !(sign === NEWLINE && this.#lines)) return;
      this.#at += 1;
    }
  }

  /** To the end of the line, or of the text. */
  #lineEnd(): number {
    const end = this.#text.indexOf("\n", this.#at);
    return end === -1 ? this.#text.length : end;
  }

  /** From the beginning of a line to the next content, over lines that say nothing. */
  #toContent(): void {
    for (;;) {
      const lineStart = this.#at;
      this.#skipSpaces();
      const sign = this.#sign();
      if (sign === HASH) this.#at = this.#lineEnd();
      else if (sign !== NEWLINE) {
        this.#column = this.#at === this.#text.length ? -1 : this.#at - lineStart;
        return;
      }
      if (this.#at < this.#text.length) this.#at += 1;
    }
  }

  /**
   * Passes over the end of a line that has said all, comment or not, to the next content. Whether
   * there was nothing but that.
   */
  #endLine(): boolean {
    const from = this.#at;
    this.#skipSpaces();
    const sign = this.#sign();
    const spaced = this.#at > from || this.#text.charCodeAt(from - 1) === SPACE;
    if (sign === HASH && spaced) this.#at = this.#lineEnd();
    else if (sign !== NEWLINE && this.#at < this.#text.length) return false;
    if (this.#at < this.#text.length) this.#at += 1;
    this.#toContent();
    return true;
  }

  /** A value has been read that belongs to `column`: its line holds nothing more, nor does the next. */
  #endValue(column: number): void {
    if (!this.#endLine() || this.#column > column) throw NOT_READ;
  }

  /** A key of a block map with its colon and the spaces behind it; undefined where there is none. */
  #key(): string | undefined {
    const start = this.#at;
    if (!this.#pass(KEY) && !this.#pass(QUOTED_KEY)) return undefined;
    const end = this.#at - 1;
    const sign = this.#sign();
    if (sign !== SPACE && sign !== NEWLINE && this.#at < this.#text.length) {
      this.#at = start;
      return undefined;
    }
    this.#skipSpaces();
    return unquoted(this.#text, start, end);
  }

  #enter(): void {
    this.#depth += 1;
    if (this.#depth > DEPTH_MAX) throw NOT_READ;
  }

  /** A map whose first key stands here, at `column`. */
  #blockMap(column: number): JsonValue {
    this.#enter();
    const map: Record<string, JsonValue> = {};
    do {
      const key = this.#key();
      if (key === undefined) throw NOT_READ;
      put(map, key, this.#blockValue(column));
    } while (this.#column === column && this.#sign() !== DASH);
    if (this.#column > column) throw NOT_READ;
    this.#depth -= 1;
    return map;
  }

  /** What belongs to a key at `column`, in the rest of its line or below. */
  #blockValue(column: number): JsonValue {
    if (!this.#endLine()) return this.#lineValue(column);
    // A list may stand at the column of its key.
    if (this.#column >= column && this.#isItem()) return this.#blockList(this.#column);
    return this.#column > column ? this.#blockMap(this.#column) : null;
  }

  #isItem(): boolean {
    return this.#sign() === DASH && this.#text.charCodeAt(this.#at + 1) === SPACE;
  }

  /** A list whose first dash stands here, at `column`. */
  #blockList(column: number): JsonValue {
    this.#enter();
    const list: JsonValue[] = [];
    do {
      const dash = this.#at;
      this.#at += 1;
      this.#skipSpaces();
      const inner = this.#at;
      const isMap = this.#key() !== undefined;
      this.#at = inner;
      list.push(isMap ? this.#blockMap(column + inner - dash) : this.#lineValue(column));
    } while (this.#column === column && this.#isItem());
    if (this.#column > column) throw NOT_READ;
    this.#depth -= 1;
    return list;
  }

  /** A value in one line, which belongs to a key or dash at `column`. */
  #lineValue(column: number): JsonValue {
    const sign = this.#sign();
    if (sign === OPEN_MAP || sign === OPEN_LIST || sign === DOUBLE_QUOTE || sign === SINGLE_QUOTE) {
      const value = this.#flowValue();
      this.#endValue(column);
      return value;
    }
    const end = this.#lineEnd();
    const line = this.#text.slice(this.#at, end);
    const comment = line.indexOf(" #");
    this.#at = end;
    const value = plainScalar(comment === -1 ? line : line.slice(0, comment));
    this.#endValue(column);
    return value;
  }

  #flowValue(): JsonValue {
    switch (this.#sign()) {
      case OPEN_MAP:
        return this.#flowMap();
      case OPEN_LIST:
        return this.#flowList();
      case DOUBLE_QUOTE: {
        const start = this.#at;
        if (!this.#pass(DOUBLE_QUOTED)) throw NOT_READ;
        const quoted = this.#text.slice(start, this.#at);
        return quoted.includes("\\") ? (JSON.parse(quoted) as string) : quoted.slice(1, -1);
      }
      case SINGLE_QUOTE: {
        const start = this.#at + 1;
        if (!this.#pass(SINGLE_QUOTED)) throw NOT_READ;
        return this.#text.slice(start, this.#at - 1).replaceAll("''", "'");
      }
      default: {
        const start = this.#at;
        if (!this.#pass(PLAIN_IN_FLOW)) throw NOT_READ;
        return plainScalar(this.#text.slice(start, this.#at));
      }
    }
  }

  /** As `#key`, in a flow map, where a quoted key needs no space behind it. */
  #keyInFlow(): string | undefined {
    const start = this.#at;
    if (!this.#pass(QUOTED_KEY)) return this.#key();
    return unquoted(this.#text, start, this.#at - 1);
  }

  #flowMap(): JsonValue {
    this.#enter();
    const map: Record<string, JsonValue> = {};
    this.#at += 1;
    this.#skipSpace();
    while (this.#sign() !== CLOSE_MAP) {
      const key = this.#keyInFlow();
      if (key === undefined) throw NOT_READ;
      this.#skipSpace();
      put(map, key, this.#flowValue());
      this.#nextInFlow(CLOSE_MAP);
    }
    this.#at += 1;
    this.#depth -= 1;
    return map;
  }

  #flowList(): JsonValue {
    this.#enter();
    const list: JsonValue[] = [];
    this.#at += 1;
    this.#skipSpace();
    while (this.#sign() !== CLOSE_LIST) {
      list.push(this.#flowValue());
      this.#nextInFlow(CLOSE_LIST);
    }
    this.#at += 1;
    this.#depth -= 1;
    return list;
  }

  /** To the next entry or to the end of the collection. */
  #nextInFlow(close: number): void {
    this.#skipSpace();
    if (this.#sign() === close) return;
    if (this.#sign() !== COMMA) throw NOT_READ;
    this.#at += 1;
    this.#skipSpace();
    if (this.#sign() === close) throw NOT_READ;
  }
}

/** The key that stands from `start` to `end`, in quotes or not. */
function unquoted(text: string, start: number, end: number): string {
  return text.charCodeAt(start) === DOUBLE_QUOTE
    ? text.slice(start + 1, end - 1)
    : text.slice(start, end);
}

function put(map: Record<string, JsonValue>, key: string, value: JsonValue): void {
  // Twice the same, or what every object has, such as "__proto__".
  if (key in map) throw NOT_READ;
  map[key] = value;
}

function plainScalar(written: string): JsonValue {
  const text = written.trimEnd();
  if (DECIMAL.test(text)) return Number(text);
  if (!PLAIN_START.test(text) || text.includes(": ") || text.endsWith(":")) throw NOT_READ;
  if (OTHER_NUMBER.test(text)) throw NOT_READ;
  if (text.length > WORD_LENGTH_MAX) return text;
  const word = WORDS.get(text);
  return word === undefined ? text : word;
}
