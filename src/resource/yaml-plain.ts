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
/** Lines that say nothing, and the spaces before what says something. */
const NOTHING = /(?: *(?:#[^\n]*)?\n)* */y;
/** What else may stand in a line that has said all; a comment has a space before it. */
const END_OF_LINE = / *(?: #[^\n]*)?(?:\n|$)/y;
/** The same behind the space that a key's colon has. */
const END_OF_KEY = /(?:#[^\n]*)?(?:\n|$)/y;
const KEY = /([A-Za-z_][-A-Za-z0-9_./]{0,126})(?:: +|:(?=\n|$))/y;
const QUOTED_KEY = /"([^"\\\n]{0,126})"(?:: +|:(?=\n|$))/y;
/** In a flow map no space is needed behind a quoted key. */
const QUOTED_KEY_IN_FLOW = /"([^"\\\n]{0,126})":/y;
const ITEM = /- +/y;
const DOUBLE_QUOTED = /"([^"\\\n]*(?:\\["\\/nrt][^"\\\n]*)*)"/y;
const SINGLE_QUOTED = /'([^'\n]*(?:''[^'\n]*)*)'/y;
const PLAIN = /[^\n]+/y;
const PLAIN_IN_FLOW = /[^\n,[\]{}#]+/y;
const SPACES = / */y;
const WHITE = /[ \n]*/y;

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
const SPACE = 0x20;

/** Stands at `#at`; between lines at the first content of the next one. */
class PlainReader {
  readonly #text: string;
  #at = 0;
  /** The column of the content at which the reader stands; -1 at the end of the text. */
  #column = 0;
  #depth = 0;
  /** What may stand between the signs of a flow collection. */
  #space = SPACES;

  constructor(text: string) {
    this.#text = text;
  }

  read(): PlainDocument {
    if (this.#text.startsWith("---") && this.#match(MARKER) === undefined) throw NOT_READ;
    this.#toContent();
    const offset = this.#at;
    if (this.#sign() !== OPEN_MAP) {
      const value = this.#column === 0 ? this.#blockMap(0) : undefined;
      if (value === undefined || this.#at < this.#text.length) throw NOT_READ;
      return { value, offset };
    }
    // JSON, or what looks like it: nothing around it could be mistaken for a part of it.
    this.#space = WHITE;
    const value = this.#flowValue();
    this.#match(WHITE);
    if (this.#at !== this.#text.length) throw NOT_READ;
    return { value, offset };
  }

  /** Passes over what `pattern` finds here; returns its group, or all of it. */
  #match(pattern: RegExp): string | undefined {
    pattern.lastIndex = this.#at;
    const found = pattern.exec(this.#text);
    if (found === null) return undefined;
    this.#at = pattern.lastIndex;
    return found[1] ?? found[0];
  }

  #sign(): number {
    return this.#text.charCodeAt(this.#at);
  }

  /** From the beginning of a line to the next content. */
  #toContent(): void {
    this.#match(NOTHING);
    const ended = this.#at === this.#text.length;
    const lineStart = this.#at === 0 ? 0 : this.#text.lastIndexOf("\n", this.#at - 1) + 1;
    this.#column = ended ? -1 : this.#at - lineStart;
  }

  /** A value has been read that belongs to `column`: its line holds nothing more, nor does the next. */
  #endValue(column: number): void {
    if (this.#match(END_OF_LINE) === undefined) throw NOT_READ;
    this.#toContent();
    if (this.#column > column) throw NOT_READ;
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
      const key = this.#match(KEY) ?? this.#match(QUOTED_KEY);
      if (key === undefined) throw NOT_READ;
      put(map, key, this.#blockValue(column));
    } while (this.#column === column && this.#sign() !== DASH);
    if (this.#column > column) throw NOT_READ;
    this.#depth -= 1;
    return map;
  }

  /** What belongs to a key at `column`, in the rest of its line or below. */
  #blockValue(column: number): JsonValue {
    if (this.#match(END_OF_KEY) === undefined) return this.#lineValue(column);
    this.#toContent();
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
      this.#match(ITEM);
      const inner = column + this.#at - dash;
      const isMap = this.#finds(KEY) || this.#finds(QUOTED_KEY);
      list.push(isMap ? this.#blockMap(inner) : this.#lineValue(column));
    } while (this.#column === column && this.#isItem());
    if (this.#column > column) throw NOT_READ;
    this.#depth -= 1;
    return list;
  }

  #finds(pattern: RegExp): boolean {
    pattern.lastIndex = this.#at;
    return pattern.test(this.#text);
  }

  /** A value in one line, which belongs to a key or dash at `column`. */
  #lineValue(column: number): JsonValue {
    const sign = this.#sign();
    if (sign === OPEN_MAP || sign === OPEN_LIST || sign === DOUBLE_QUOTE || sign === SINGLE_QUOTE) {
      const value = this.#flowValue();
      this.#endValue(column);
      return value;
    }
    const line = this.#match(PLAIN) ?? "";
    const comment = line.indexOf(" #");
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
        const text = this.#match(DOUBLE_QUOTED);
        if (text === undefined) throw NOT_READ;
        return text.includes("\\") ? (JSON.parse(`"${text}"`) as string) : text;
      }
      case SINGLE_QUOTE: {
        const text = this.#match(SINGLE_QUOTED);
        if (text === undefined) throw NOT_READ;
        return text.replaceAll("''", "'");
      }
      default:
        return plainScalar(this.#match(PLAIN_IN_FLOW) ?? "");
    }
  }

  #flowMap(): JsonValue {
    this.#enter();
    const map: Record<string, JsonValue> = {};
    this.#at += 1;
    this.#match(this.#space);
    while (this.#sign() !== CLOSE_MAP) {
      const key = this.#match(KEY) ?? this.#match(QUOTED_KEY_IN_FLOW);
      if (key === undefined) throw NOT_READ;
      this.#match(this.#space);
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
    this.#match(this.#space);
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
    this.#match(this.#space);
    if (this.#sign() === close) return;
    if (this.#sign() !== COMMA) throw NOT_READ;
    this.#at += 1;
    this.#match(this.#space);
    if (this.#sign() === close) throw NOT_READ;
  }
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
