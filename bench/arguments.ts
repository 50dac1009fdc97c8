/** Arguments of benchmarks, as a person writes them: what is none is refused, and nothing measured. */

/** A benchmark cannot run, for its arguments. */
export class ArgumentError extends Error {
  override readonly name = "ArgumentError";
}

export interface RunOptions {
  readonly rounds: number;
  /** Of each run. */
  readonly seconds: number;
}

/** The first two arguments of most benchmarks. */
export function runOptions(
  [rounds, seconds]: readonly string[],
  otherwise: RunOptions = { rounds: 7, seconds: 4 },
): RunOptions {
  return {
    rounds: wholeNumber("rounds", rounds, otherwise.rounds),
    seconds: wholeNumber("seconds per run", seconds, otherwise.seconds),
  };
}

/** A whole number of at least 1. */
export function wholeNumber(name: string, text: string | undefined, otherwise: number): number {
  if (text === undefined) return otherwise;
  if (/^[1-9]\d{0,6}$/.test(text)) return Number(text);
  throw new ArgumentError(`${name}: must be a whole number of at least 1, is "${text}"`);
}

/** The one part that is asked for, or all of them. */
export function chosenParts<Part extends string>(
  parts: readonly Part[],
  only: string | undefined,
): readonly Part[] {
  if (only === undefined) return parts;
  const chosen = parts.filter((part) => part === only);
  if (chosen.length > 0) return chosen;
  throw new ArgumentError(`there is no part "${only}"; valid: ${parts.join(", ")}`);
}
