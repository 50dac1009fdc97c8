/** Text and floats to numbers, as Go's strconv does it and with its messages. */
import { ExprError } from "./syntax.ts";
import { textOf } from "./value.ts";

const DECIMAL = /^[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?$/;
const SPECIAL: Readonly<Record<string, number>> = { inf: Infinity, infinity: Infinity, nan: NaN };
/** How much of a text an error repeats. */
export const QUOTE_LENGTH_MAX = 100;

function quoted(text: string): string {
  return JSON.stringify(text.slice(0, QUOTE_LENGTH_MAX));
}

/** Go's strconv.ParseFloat. */
export function parseFloatAsGo(text: string): number {
  const special = SPECIAL[text.replace(/^[+-]/, "").toLowerCase()];
  if (special !== undefined) return text.startsWith("-") ? -special : special;
  const fault = `strconv.ParseFloat: parsing ${quoted(text)}`;
  if (!DECIMAL.test(text)) throw new ExprError(`${fault}: invalid syntax`);
  const value = Number(text);
  if (!Number.isFinite(value)) throw new ExprError(`${fault}: value out of range`);
  return value;
}

/** Go's strconv.ParseInt in base ten. */
export function parseIntAsGo(text: string): bigint {
  const fault = `strconv.ParseInt: parsing ${quoted(text)}`;
  if (!/^[+-]?\d+$/.test(text)) throw new ExprError(`${fault}: invalid syntax`);
  // Nineteen digits suffice for 64 bits; longer ones would only cost time.
  const digits = text.replace(/^[+-]?0*(?=\d)/, "");
  const value =
    digits.length > 19 ? undefined : BigInt(text.startsWith("-") ? `-${digits}` : digits);
  if (value === undefined || BigInt.asIntN(64, value) !== value) {
    throw new ExprError(`${fault}: value out of range`);
  }
  return value;
}

/** Go's conversion of a float to int64: towards zero. */
export function truncate(value: number): bigint {
  if (!Number.isFinite(value)) throw new ExprError(`invalid operation: int(${textOf(value)})`);
  return BigInt.asIntN(64, BigInt(Math.trunc(value)));
}
