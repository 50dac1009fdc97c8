/** What a function of an expression is: what it takes, what it gives, what it does. */
import type { Parameter, Type } from "./type.ts";
import type { Budget, Value } from "./value.ts";

export interface Context {
  readonly budget: Budget;
  /** What `now()` says, milliseconds since the epoch. */
  readonly nowMs: number;
}

export interface Builtin {
  readonly parameters: readonly Parameter[];
  /** How many of the last parameters may be left out. */
  readonly optional?: number;
  /** Whether the last parameter may be repeated. */
  readonly variadic?: true;
  readonly returns: Type | ((args: readonly Type[]) => Type);
  readonly run: (args: readonly Value[], context: Context) => Value;
}

export type Builtins = Readonly<Record<string, Builtin>>;
