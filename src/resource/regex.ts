/**
 * RE2 expressions as documents write them. RE2 takes time in proportion to the text, but each
 * counted repetition is written out in full, one in another multiplied: fifty characters can stand
 * for ten thousand steps, which every worker would take for every letter of a path.
 */
import { RE2JS } from "re2js";
import { quoted } from "./schema.ts";

/** Steps that counted repetitions may add to those that are written. */
const REPEATED_STEPS_MAX = 1000;

/** What is wrong with an RE2 expression, or undefined. */
export function regexProblem(source: string): string | undefined {
  if (repeatedSteps(source) > REPEATED_STEPS_MAX) {
    return (
      "must be a simpler expression: its repetitions in braces stand for more than " +
      `${REPEATED_STEPS_MAX} steps`
    );
  }
  try {
    RE2JS.compile(source);
    return undefined;
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    return `must be a regular expression in RE2 syntax, ${quoted(source)} is none: ${reason}`;
  }
}

/** One thing that can be repeated: an escape, a class, a parenthesis, a count, any other letter. */
const TOKEN = /\\[^]|\[\^?\]?(?:\\[^]|[^\]\\])*\]?|\{(\d+)(?:(,)(\d*))?\}|[^]/gu;

/** How many steps counted repetitions add. At least that many for what is no expression at all. */
function repeatedSteps(source: string): number {
  let steps = 0;
  let added = 0;
  /** Steps of what a count would repeat. */
  let last = 0;
  const open: number[] = [];
  for (const [token, min, comma, max] of source.matchAll(TOKEN)) {
    if (min !== undefined) {
      const more = last * Math.max(countOf(min, comma === undefined ? min : max) - 1, 0);
      steps += more;
      added += more;
      last += more;
      if (added > REPEATED_STEPS_MAX) return added;
    } else if (token === "(") {
      open.push(steps);
    } else if (token === ")") {
      last = steps - (open.pop() ?? 0);
    } else if (!"*+?|^$".includes(token)) {
      steps++;
      last = 1;
    }
  }
  return added;
}

/** How often `{min,max}` writes its step out; without `max` once more, for all that follow. */
function countOf(min: string, max = ""): number {
  return max === "" ? Number(min) + 1 : Number(max);
}
