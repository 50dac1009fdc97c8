/**
 * Tokens → syntax tree, by operator precedence as expr-lang has it (its operator table, v1.17).
 * The tree is bounded in nodes and depth, so that whatever walks it needs no limit of its own.
 */
import { lex, type Token } from "./lex.ts";
import { DEPTH_MAX, ExprError, NODES_MAX, assertFieldAllowed, type Node } from "./syntax.ts";

const UNARY: Readonly<Record<string, number>> = { not: 50, "!": 50, "-": 90, "+": 90 };

const BINARY: Readonly<Record<string, number>> = {
  "|": 0,
  "||": 10,
  or: 10,
  "&&": 15,
  and: 15,
  "==": 20,
  "!=": 20,
  "<": 20,
  ">": 20,
  "<=": 20,
  ">=": 20,
  in: 20,
  matches: 20,
  contains: 20,
  startsWith: 20,
  endsWith: 20,
  "..": 25,
  "+": 30,
  "-": 30,
  "*": 60,
  "/": 60,
  "%": 60,
  "**": 100,
  "^": 100,
  "??": 500,
};

const RIGHT: ReadonlySet<string> = new Set(["**", "^"]);
/** What "not" may stand before, as in "x not in y". */
const NEGATABLE: ReadonlySet<string> = new Set([
  "in",
  "matches",
  "contains",
  "startsWith",
  "endsWith",
]);
const COMPARISON: ReadonlySet<string> = new Set(["==", "!=", "<", ">", "<=", ">="]);
/** The written operator → the one that later passes know. */
const SYNONYM: Readonly<Record<string, string>> = {
  "||": "or",
  "&&": "and",
  "**": "^",
  "!": "not",
};

/** Functions whose last argument is a predicate over the elements of their first. */
export const PREDICATE_FUNCTIONS: Readonly<Record<string, "required" | "optional">> = {
  all: "required",
  any: "required",
  none: "required",
  one: "required",
  filter: "required",
  map: "required",
  find: "required",
  findIndex: "required",
  findLast: "required",
  findLastIndex: "required",
  groupBy: "required",
  reduce: "required",
  count: "optional",
  sum: "optional",
};

/** The tree of `source`. Throws ExprError with the column of what is wrong. */
export function parseExpression(source: string): Node {
  const parser = new Parser(lex(source));
  return parser.whole();
}

class Parser {
  readonly #tokens: readonly Token[];
  #index = 0;
  #nodes = 0;
  #depth = 0;
  /** Inside how many predicates: "#" and ".field" stand only there. */
  #predicates = 0;

  constructor(tokens: readonly Token[]) {
    this.#tokens = tokens;
  }

  whole(): Node {
    const node = this.#sequence();
    if (this.#current.kind !== "end") throw this.#unexpected();
    return node;
  }

  get #current(): Token {
    return this.#tokens[this.#index] as Token;
  }

  #is(...operators: readonly string[]): boolean {
    return this.#current.kind === "operator" && operators.includes(this.#current.text);
  }

  #take(operator: string): boolean {
    if (!this.#is(operator)) return false;
    this.#index++;
    return true;
  }

  #expect(operator: string): void {
    if (!this.#take(operator)) throw this.#unexpected(`"${operator}"`);
  }

  #next(): Token {
    const token = this.#current;
    if (token.kind !== "end") this.#index++;
    return token;
  }

  #unexpected(wanted?: string): ExprError {
    const { kind, text, at } = this.#current;
    const found = kind === "end" ? "end of expression" : `"${text}"`;
    return new ExprError(
      `unexpected ${found}${wanted === undefined ? "" : `, want ${wanted}`}`,
      at,
    );
  }

  #node(node: Node): Node {
    if (++this.#nodes > NODES_MAX) {
      throw new ExprError(`an expression must have at most ${NODES_MAX} nodes`, node.at);
    }
    return node;
  }

  /** "let x = 1; x + 1" or a plain expression. */
  #sequence(): Node {
    if (!this.#is("let")) return this.#expression(0);
    const { at } = this.#next();
    const name = this.#next();
    if (name.kind !== "name") throw new ExprError("a variable must have a name", name.at);
    this.#expect("=");
    const value = this.#expression(0);
    this.#expect(";");
    const body = this.#nested(() => this.#sequence());
    return this.#node({ kind: "let", name: name.text, value, body, at });
  }

  #nested(parse: () => Node): Node {
    if (++this.#depth > DEPTH_MAX) {
      throw new ExprError(
        `an expression must be nested at most ${DEPTH_MAX} deep`,
        this.#current.at,
      );
    }
    const node = parse();
    this.#depth--;
    return node;
  }

  #expression(precedence: number): Node {
    return this.#nested(() => {
      if (precedence === 0 && this.#is("if")) return this.#ifElse();
      let left = this.#primary();
      let previous = "";
      for (;;) {
        const negate = this.#is("not") && NEGATABLE.has(this.#tokens[this.#index + 1]?.text ?? "");
        const token = negate ? (this.#tokens[this.#index + 1] as Token) : this.#current;
        const bound = token.kind === "operator" ? BINARY[token.text] : undefined;
        if (bound === undefined || bound < precedence) break;
        this.#index += negate ? 2 : 1;
        if (previous === "??" && token.text !== "??" && token.text !== "|") {
          throw new ExprError(`?? and ${token.text} must be told apart by parentheses`, token.at);
        }
        left = this.#binary(left, token, bound);
        if (negate) left = this.#node({ kind: "unary", op: "not", operand: left, at: token.at });
        previous = token.text;
      }
      return precedence === 0 ? this.#conditional(left) : left;
    });
  }

  #binary(left: Node, { text, at }: Token, precedence: number): Node {
    if (text === "|") return this.#pipe(left);
    if (COMPARISON.has(text)) return this.#comparison(left, { text, at }, precedence);
    const right = this.#expression(RIGHT.has(text) ? precedence : precedence + 1);
    return this.#node({ kind: "binary", op: SYNONYM[text] ?? text, left, right, at });
  }

  /** "1 < x < 3" means "1 < x and x < 3". */
  #comparison(first: Node, { text, at }: { text: string; at: number }, precedence: number): Node {
    let operand = this.#expression(precedence + 1);
    let result = this.#node({ kind: "binary", op: text, left: first, right: operand, at });
    while (this.#current.kind === "operator" && COMPARISON.has(this.#current.text)) {
      const next = this.#next();
      const right = this.#expression(precedence + 1);
      const link = this.#node({ kind: "binary", op: next.text, left: operand, right, at: next.at });
      result = this.#node({ kind: "binary", op: "and", left: result, right: link, at: next.at });
      operand = right;
    }
    return result;
  }

  #pipe(left: Node): Node {
    const name = this.#next();
    if (name.kind !== "name") throw new ExprError("a pipe must lead to a function", name.at);
    return this.#postfix(this.#call(name, [left]));
  }

  #conditional(test: Node): Node {
    let node = test;
    while (this.#is("?")) {
      const { at } = this.#next();
      if (this.#take(":")) {
        const no = this.#expression(0);
        node = this.#node({ kind: "conditional", test: node, yes: node, no, at });
        continue;
      }
      const yes = this.#expression(0);
      this.#expect(":");
      const no = this.#expression(0);
      node = this.#node({ kind: "conditional", test: node, yes, no, at });
    }
    return node;
  }

  #ifElse(): Node {
    const { at } = this.#next();
    const test = this.#expression(0);
    this.#expect("{");
    const yes = this.#sequence();
    this.#expect("}");
    this.#expect("else");
    if (this.#is("if")) {
      const no = this.#nested(() => this.#ifElse());
      return this.#node({ kind: "conditional", test, yes, no, at });
    }
    this.#expect("{");
    const no = this.#sequence();
    this.#expect("}");
    return this.#node({ kind: "conditional", test, yes, no, at });
  }

  #primary(): Node {
    const token = this.#current;
    const unary = token.kind === "operator" ? UNARY[token.text] : undefined;
    if (unary !== undefined) {
      this.#index++;
      const operand = this.#expression(unary);
      const op = SYNONYM[token.text] ?? token.text;
      return this.#postfix(this.#node({ kind: "unary", op, operand, at: token.at }));
    }
    if (this.#take("(")) {
      const node = this.#nested(() => this.#sequence());
      this.#expect(")");
      return this.#postfix(node);
    }
    return this.#postfix(this.#operand());
  }

  #operand(): Node {
    if (this.#predicates > 0 && this.#is("#", ".")) return this.#pointer();
    const token = this.#current;
    if (this.#is("[")) return this.#list();
    if (this.#is("{")) return this.#map();
    this.#next();
    const { at } = token;
    if (token.kind === "number" || token.kind === "string") {
      return this.#node({ kind: "literal", value: token.value, at });
    }
    if (token.kind === "name") return this.#named(token);
    this.#index = Math.max(0, token.kind === "end" ? this.#index : this.#index - 1);
    throw this.#unexpected();
  }

  #named(token: Token): Node {
    const { text, at } = token;
    if (text === "true" || text === "false") {
      return this.#node({ kind: "literal", value: text === "true", at });
    }
    if (text === "nil" || text === "null") return this.#node({ kind: "literal", value: null, at });
    if (this.#is("(")) return this.#call(token, []);
    return this.#node({ kind: "name", name: text, at });
  }

  #pointer(): Node {
    const { text, at } = this.#current;
    if (text === ".") return this.#node({ kind: "pointer", name: "", at });
    this.#index++;
    const next = this.#current;
    const isNamed = next.kind === "name" && next.at === at + 1;
    if (!isNamed) return this.#node({ kind: "pointer", name: "", at });
    if (next.text !== "acc" && next.text !== "index") {
      throw new ExprError(`unknown pointer #${next.text}`, at);
    }
    this.#index++;
    return this.#node({ kind: "pointer", name: next.text, at });
  }

  #call(name: Token, piped: readonly Node[]): Node {
    this.#expect("(");
    const args = [...piped];
    while (!this.#is(")")) {
      if (args.length > piped.length) this.#expect(",");
      if (this.#is(")")) break;
      const takesPredicate = args.length === 1 && Object.hasOwn(PREDICATE_FUNCTIONS, name.text);
      args.push(takesPredicate ? this.#predicate() : this.#expression(0));
    }
    this.#expect(")");
    return this.#node({ kind: "call", name: name.text, args, at: name.at });
  }

  #predicate(): Node {
    const { at } = this.#current;
    const braced = this.#take("{");
    this.#predicates++;
    const body = braced ? this.#nested(() => this.#sequence()) : this.#expression(0);
    this.#predicates--;
    if (braced) this.#expect("}");
    return this.#node({ kind: "predicate", body, at });
  }

  #list(): Node {
    const { at } = this.#next();
    const items: Node[] = [];
    while (!this.#is("]")) {
      if (items.length > 0) this.#expect(",");
      if (this.#is("]")) break;
      items.push(this.#expression(0));
    }
    this.#expect("]");
    return this.#node({ kind: "list", items, at });
  }

  #map(): Node {
    const { at } = this.#next();
    const entries: { key: Node; value: Node }[] = [];
    while (!this.#is("}")) {
      if (entries.length > 0) this.#expect(",");
      if (this.#is("}")) break;
      const key = this.#key();
      this.#expect(":");
      entries.push({ key, value: this.#expression(0) });
    }
    this.#expect("}");
    return this.#node({ kind: "map", entries, at });
  }

  #key(): Node {
    const token = this.#current;
    if (this.#is("(")) return this.#expression(0);
    if (token.kind !== "name" && token.kind !== "string" && token.kind !== "number") {
      throw this.#unexpected("a key");
    }
    this.#next();
    const name = token.kind === "string" ? token.value : token.text;
    assertFieldAllowed(name, token.at);
    return this.#node({ kind: "literal", value: name, at: token.at });
  }

  #postfix(start: Node): Node {
    let node = start;
    let optional = false;
    for (;;) {
      if (this.#is(".", "?.")) {
        const dot = this.#next();
        optional ||= dot.text === "?.";
        node = this.#field(node, dot);
      } else if (this.#is("[")) {
        node = this.#bracket(node, this.#next().at);
      } else break;
    }
    return optional ? this.#node({ kind: "chain", operand: node, at: start.at }) : node;
  }

  #field(base: Node, dot: Token): Node {
    const optional = dot.text === "?.";
    if (optional && this.#is("[")) {
      const { at } = this.#next();
      const property = this.#expression(0);
      this.#expect("]");
      return this.#node({ kind: "member", base, property, optional, at });
    }
    const { kind, text, at } = this.#next();
    if (kind !== "name") throw new ExprError(`unexpected "${text}", want a field name`, at);
    assertFieldAllowed(text, at);
    if (this.#take("(")) {
      const args: Node[] = [];
      while (!this.#is(")")) {
        if (args.length > 0) this.#expect(",");
        args.push(this.#expression(0));
      }
      this.#expect(")");
      return this.#node({ kind: "method", base, name: text, args, optional, at });
    }
    const property = this.#node({ kind: "literal", value: text, at });
    return this.#node({ kind: "member", base, property, optional, at });
  }

  #bracket(base: Node, at: number): Node {
    if (this.#take(":")) return this.#slice(base, undefined, at);
    const from = this.#expression(0);
    if (this.#take(":")) return this.#slice(base, from, at);
    this.#expect("]");
    return this.#node({ kind: "member", base, property: from, optional: false, at });
  }

  #slice(base: Node, from: Node | undefined, at: number): Node {
    const to = this.#is("]") ? undefined : this.#expression(0);
    this.#expect("]");
    return this.#node({ kind: "slice", base, from, to, at });
  }
}
