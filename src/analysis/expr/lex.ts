/**
 * Cuts the source of an expression into tokens. Every token knows its column, so that an error can
 * point at its place.
 */
import { ExprError, SOURCE_LENGTH_MAX } from "./syntax.ts";

export type Token =
  | {
      readonly kind: "number";
      readonly text: string;
      readonly at: number;
      readonly value: bigint | number;
    }
  | { readonly kind: "string"; readonly text: string; readonly at: number; readonly value: string }
  | { readonly kind: "name" | "operator" | "end"; readonly text: string; readonly at: number };

/** Words that are operators; all other words are names. */
const WORDS: ReadonlySet<string> = new Set([
  "not",
  "and",
  "or",
  "in",
  "matches",
  "contains",
  "startsWith",
  "endsWith",
  "let",
  "if",
  "else",
]);

const SPACE = /(?:\s+|\/\/[^\n]*|\/\*[^]*?\*\/)+/y;
const NUMBER =
  /0[xX][0-9a-fA-F_]+|0[oO][0-7_]+|0[bB][01_]+|(?:\d[\d_]*(?:\.(?!\.)[\d_]*)?|\.\d[\d_]*)(?:[eE][+-]?\d+)?/y;
const NAME = /[A-Za-z_$\u0080-\uffff][\w$\u0080-\uffff]*/y;
const OPERATOR = /\|\||&&|==|!=|<=|>=|\.\.|\*\*|\?\?|\?\.(?!\d)|[-+*/%^<>!|?:,;=.#()[\]{}]/y;
const QUOTED = /"(?:[^"\\\n]|\\[^])*"|'(?:[^'\\\n]|\\[^])*'|`[^`]*`/y;

/** All tokens of `source`, the last of kind "end". Throws ExprError. */
export function lex(source: string): readonly Token[] {
  if (source.length > SOURCE_LENGTH_MAX) {
    throw new ExprError(`an expression must be at most ${SOURCE_LENGTH_MAX} characters long`);
  }
  const tokens: Token[] = [];
  let at = 0;
  for (;;) {
    at += match(SPACE, source, at).length;
    if (at >= source.length) break;
    const token = tokenAt(source, at, tokens.at(-1));
    tokens.push(token);
    at += token.text.length;
  }
  tokens.push({ kind: "end", text: "", at: source.length + 1 });
  return tokens;
}

function tokenAt(source: string, index: number, previous: Token | undefined): Token {
  const at = index + 1;
  const quoted = match(QUOTED, source, index);
  if (quoted !== "") return { kind: "string", text: quoted, at, value: unquote(quoted, at) };
  const number = isField(previous) ? "" : match(NUMBER, source, index);
  if (number !== "") {
    if (match(NAME, source, index + number.length) !== "") {
      throw new ExprError(`bad number syntax after "${number}"`, at);
    }
    return { kind: "number", text: number, at, value: numberOf(number, at) };
  }
  const name = match(NAME, source, index);
  if (name !== "") {
    const operator = WORDS.has(name) && !isField(previous);
    return { kind: operator ? "operator" : "name", text: name, at };
  }
  const operator = match(OPERATOR, source, index);
  if (operator !== "") return { kind: "operator", text: operator, at };
  const found = String.fromCodePoint(source.codePointAt(index) as number);
  const what = /["'`]/.test(found) ? "literal not terminated" : `unrecognized character: ${found}`;
  throw new ExprError(what, at);
}

/** After a dot stands a field, whatever it looks like. */
function isField(previous: Token | undefined): boolean {
  return previous?.text === "." || previous?.text === "?.";
}

function match(pattern: RegExp, source: string, index: number): string {
  pattern.lastIndex = index;
  return pattern.exec(source)?.[0] ?? "";
}

function numberOf(text: string, at: number): bigint | number {
  const digits = text.replaceAll("_", "");
  const isInteger = /^(?:\d+|0[xX].+|0[oO].+|0[bB].+)$/.test(digits);
  if (!isInteger) return Number(digits);
  try {
    const value = BigInt(digits);
    if (BigInt.asIntN(64, value) === value) return value;
  } catch {
    // "0x_" has no digits: the same message as for a number that is too large.
  }
  throw new ExprError(`invalid integer literal ${text}`, at);
}

const ESCAPES: Readonly<Record<string, string>> = {
  a: "\x07",
  b: "\b",
  f: "\f",
  n: "\n",
  r: "\r",
  t: "\t",
  v: "\v",
  "\\": "\\",
  "'": "'",
  '"': '"',
};

const ESCAPE =
  /\\(?:u\{([0-9a-fA-F]{1,6})\}|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|x([0-9a-fA-F]{2})|([0-7]{3})|([^]))/g;

/** The text of a quoted literal; backquoted literals have no escapes. */
function unquote(quoted: string, at: number): string {
  const inner = quoted.slice(1, -1);
  if (quoted.startsWith("`")) return inner;
  return inner.replaceAll(ESCAPE, (...groups: (string | undefined)[]) => {
    const [, braced, short, long, hex, octal, plain] = groups;
    if (plain !== undefined) {
      const escaped = ESCAPES[plain];
      if (escaped === undefined) throw new ExprError(`invalid escape \\${plain}`, at);
      return escaped;
    }
    const code = parseInt(
      braced ?? short ?? long ?? hex ?? octal ?? "",
      octal === undefined ? 16 : 8,
    );
    if (code > 0x10_ffff) throw new ExprError("invalid escape: no such character", at);
    return String.fromCodePoint(code);
  });
}
