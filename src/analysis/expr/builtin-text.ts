/** Functions of expr-lang on strings. What they build is paid for from the budget. */
import type { Builtin, Builtins, Context } from "./builtin.ts";
import { ExprError } from "./syntax.ts";
import { typeOfKind } from "./type.ts";
import { type Value, bytes, textOf } from "./value.ts";

const STRING = typeOfKind("string");
/** Characters that one step of the budget pays for. */
const TEXT_PER_STEP = 16;

function text(
  parameters: readonly string[],
  run: (args: readonly string[], context: Context) => Value,
  options: Partial<Pick<Builtin, "optional" | "returns">> = {},
): Builtin {
  return {
    parameters,
    returns: STRING,
    ...options,
    run(args, context) {
      for (const arg of args) {
        if (typeof arg === "string") context.budget.spend(arg.length / TEXT_PER_STEP);
      }
      return run(args as readonly string[], context);
    },
  };
}

/** Removes characters of `set` (white space by default) from both ends. */
function trim(value: string, set: string | undefined): string {
  if (set === undefined) return value.trim();
  const characters = Array.from(value);
  const removed = new Set(set);
  let [start, end] = [0, characters.length];
  while (start < end && removed.has(characters[start] as string)) start++;
  while (end > start && removed.has(characters[end - 1] as string)) end--;
  return characters.slice(start, end).join("");
}

/** Go's strings.SplitN: the last part keeps the rest; a negative limit is none. */
function split(value: string, separator: string, limit: number): string[] {
  if (limit === 0) return [];
  const parts = separator === "" ? Array.from(value) : value.split(separator);
  if (limit < 0 || parts.length <= limit) return parts;
  return [...parts.slice(0, limit - 1), parts.slice(limit - 1).join(separator)];
}

/** Positions in Go are bytes of UTF-8. */
function byteIndex(value: string, index: number): bigint {
  return BigInt(index === -1 ? -1 : bytes(value.slice(0, index)).length);
}

function repeat(value: string, times: bigint, { budget }: Context): string {
  if (times < 0n) throw new ExprError("repeat: the count must not be negative");
  budget.spend((value.length * Number(times)) / TEXT_PER_STEP);
  return value.repeat(Number(times));
}

function replace(value: string, search: string, replacement: string, { budget }: Context): string {
  const parts = search === "" ? Array.from(value) : value.split(search);
  budget.spend((parts.length * (replacement.length + 1)) / TEXT_PER_STEP + parts.length);
  return search === ""
    ? `${replacement}${parts.map((part) => part + replacement).join("")}`
    : parts.join(replacement);
}

const BOOL = { returns: typeOfKind("bool") };
const INT = { returns: typeOfKind("int") };
const LIST = { returns: typeOfKind("array", STRING) };

export const TEXT_FUNCTIONS: Builtins = {
  lower: text(["string"], ([value = ""]) => value.toLowerCase()),
  upper: text(["string"], ([value = ""]) => value.toUpperCase()),
  trim: text(["string", "string"], ([value = "", set]) => trim(value, set), { optional: 1 }),
  trimPrefix: text(["string", "string"], ([value = "", prefix = ""]) =>
    value.startsWith(prefix) ? value.slice(prefix.length) : value,
  ),
  trimSuffix: text(["string", "string"], ([value = "", suffix = ""]) =>
    value.endsWith(suffix) ? value.slice(0, value.length - suffix.length) : value,
  ),
  hasPrefix: text(
    ["string", "string"],
    ([value = "", prefix = ""]) => value.startsWith(prefix),
    BOOL,
  ),
  hasSuffix: text(
    ["string", "string"],
    ([value = "", suffix = ""]) => value.endsWith(suffix),
    BOOL,
  ),
  indexOf: text(
    ["string", "string"],
    ([value = "", part = ""]) => byteIndex(value, value.indexOf(part)),
    INT,
  ),
  lastIndexOf: text(
    ["string", "string"],
    ([value = "", part = ""]) => byteIndex(value, value.lastIndexOf(part)),
    INT,
  ),
  split: text(
    ["string", "string", "int"],
    ([value = "", separator = "", limit], { budget }) => {
      budget.spend(value.length);
      return split(value, separator, limit === undefined ? -1 : Number(limit));
    },
    { optional: 1, ...LIST },
  ),
  replace: text(
    ["string", "string", "string"],
    ([value = "", search = "", replacement = ""], context) =>
      replace(value, search, replacement, context),
  ),
  repeat: {
    parameters: ["string", "int"],
    returns: STRING,
    run: ([value, times], context) => repeat(value as string, times as bigint, context),
  },
  join: {
    parameters: ["array", "string"],
    optional: 1,
    returns: STRING,
    run([list, separator], { budget }) {
      const between = typeof separator === "string" ? separator : "";
      const parts = (list as readonly Value[]).map((part) => {
        if (typeof part !== "string") throw new ExprError(`join: ${textOf(part)} is not a string`);
        budget.spend(1 + (part.length + between.length) / TEXT_PER_STEP);
        return part;
      });
      return parts.join(between);
    },
  },
};
