/**
 * The parts of an expression in the language of expr-lang (the one that Argo Rollouts writes its
 * conditions in): its nodes, its one kind of error, and the limits that keep a hostile expression
 * from costing more than it may.
 */

/** What is wrong with an expression or with the values it met; the only thing the engine throws. */
export class ExprError extends Error {
  override readonly name = "ExprError";
  /** 1-based column in the source; undefined where no one place is to blame. */
  readonly column: number | undefined;

  constructor(message: string, column?: number) {
    super(message);
    this.column = column;
  }
}

/** Characters of source. */
export const SOURCE_LENGTH_MAX = 10_000;
/** Nodes of one expression. */
export const NODES_MAX = 1000;
/** How deep an expression may be nested. */
export const DEPTH_MAX = 64;

interface At {
  /** 1-based column of the node's first character, or of its operator. */
  readonly at: number;
}

export type Node =
  | (At & { readonly kind: "literal"; readonly value: null | boolean | bigint | number | string })
  | (At & { readonly kind: "name"; readonly name: string })
  /** "#", "#acc" or "#index" inside a predicate. */
  | (At & { readonly kind: "pointer"; readonly name: "" | "acc" | "index" })
  | (At & { readonly kind: "unary"; readonly op: string; readonly operand: Node })
  | (At & {
      readonly kind: "binary";
      readonly op: string;
      readonly left: Node;
      readonly right: Node;
    })
  | (At & {
      readonly kind: "conditional";
      readonly test: Node;
      readonly yes: Node;
      readonly no: Node;
    })
  | (At & {
      readonly kind: "member";
      readonly base: Node;
      readonly property: Node;
      /** Written "?.": nil there ends the whole chain with nil. */
      readonly optional: boolean;
    })
  | (At & {
      readonly kind: "slice";
      readonly base: Node;
      readonly from: Node | undefined;
      readonly to: Node | undefined;
    })
  /** A run of members with a "?." among them: where a nil ends. */
  | (At & { readonly kind: "chain"; readonly operand: Node })
  | (At & { readonly kind: "call"; readonly name: string; readonly args: readonly Node[] })
  | (At & {
      readonly kind: "method";
      readonly base: Node;
      readonly name: string;
      readonly args: readonly Node[];
      readonly optional: boolean;
    })
  | (At & { readonly kind: "predicate"; readonly body: Node })
  | (At & { readonly kind: "list"; readonly items: readonly Node[] })
  | (At & {
      readonly kind: "map";
      readonly entries: readonly { readonly key: Node; readonly value: Node }[];
    })
  | (At & {
      readonly kind: "let";
      readonly name: string;
      readonly value: Node;
      readonly body: Node;
    });

const FORBIDDEN: ReadonlySet<string> = new Set(["__proto__", "constructor", "prototype"]);

/** Refuses the field names through which a JavaScript object leads out of its data. */
export function assertFieldAllowed(name: string, at: number | undefined): void {
  if (FORBIDDEN.has(name)) throw new ExprError(`field ${name} must not be read`, at);
}
