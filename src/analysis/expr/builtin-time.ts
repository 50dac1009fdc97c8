/**
 * Time in expressions: `now`, `duration`, `date` and the methods of Go's time.Time and
 * time.Duration that conditions and Argo's `rangeQuery` are written with. All in UTC.
 */
import { parseDuration } from "../../base/duration.ts";
import type { Builtins } from "./builtin.ts";
import { ExprError } from "./syntax.ts";
import { typeOfKind } from "./type.ts";
import { Duration, Time, type Value, textOf } from "./value.ts";

const DATE = /^(\d{4}-\d\d-\d\d)(?:[T ](\d\d:\d\d:\d\d(?:\.\d+)?)(Z|[+-]\d\d:\d\d)?)?$/;
/** RFC 1123, with a zone that is UTC or written as an offset. */
const MAIL_DATE =
  /^(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun), \d\d (?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) \d{4} \d\d:\d\d:\d\d (?:GMT|UTC|[+-]\d{4})$/;

function parseDate(text: string): Time {
  const [whole, day, time = "00:00:00", zone = "Z"] = DATE.exec(text) ?? [];
  let epochMs = NaN;
  if (whole !== undefined) epochMs = Date.parse(`${day}T${time}${zone}`);
  else if (MAIL_DATE.test(text)) epochMs = Date.parse(text);
  if (Number.isNaN(epochMs)) throw new ExprError(`invalid date ${text.slice(0, 100)}`);
  return new Time(epochMs);
}

function parseGoDuration(text: string): Duration {
  const [, sign = "", rest = ""] = /^([+-]?)([^]*)$/.exec(text) ?? [];
  const ms = parseDuration(rest);
  if (ms === undefined) {
    throw new ExprError(`time: invalid duration ${JSON.stringify(text.slice(0, 100))}`);
  }
  return new Duration(sign === "-" ? -ms : ms);
}

export const TIME_FUNCTIONS: Builtins = {
  now: {
    parameters: [],
    returns: typeOfKind("time"),
    run: (_, { nowMs }) => new Time(nowMs),
  },
  duration: {
    parameters: ["string"],
    returns: typeOfKind("duration"),
    run: ([text]) => parseGoDuration(text as string),
  },
  date: {
    parameters: ["string"],
    returns: typeOfKind("time"),
    run: ([text]) => parseDate(text as string),
  },
};

type Method<T> = (receiver: T, args: readonly Value[]) => Value;

const TIME_METHODS: Readonly<Record<string, Method<Time>>> = {
  Unix: ({ epochMs }) => BigInt(Math.floor(epochMs / 1000)),
  UnixMilli: ({ epochMs }) => BigInt(Math.floor(epochMs)),
  Year: ({ epochMs }) => BigInt(new Date(epochMs).getUTCFullYear()),
  Month: ({ epochMs }) => BigInt(new Date(epochMs).getUTCMonth() + 1),
  Day: ({ epochMs }) => BigInt(new Date(epochMs).getUTCDate()),
  Weekday: ({ epochMs }) => BigInt(new Date(epochMs).getUTCDay()),
  Hour: ({ epochMs }) => BigInt(new Date(epochMs).getUTCHours()),
  Minute: ({ epochMs }) => BigInt(new Date(epochMs).getUTCMinutes()),
  Second: ({ epochMs }) => BigInt(new Date(epochMs).getUTCSeconds()),
  Add: ({ epochMs }, [by]) => new Time(epochMs + operand(by, Duration).ms),
  Sub: ({ epochMs }, [other]) => new Duration(epochMs - operand(other, Time).epochMs),
  After: ({ epochMs }, [other]) => epochMs > operand(other, Time).epochMs,
  Before: ({ epochMs }, [other]) => epochMs < operand(other, Time).epochMs,
  Equal: ({ epochMs }, [other]) => epochMs === operand(other, Time).epochMs,
};

const DURATION_METHODS: Readonly<Record<string, Method<Duration>>> = {
  Hours: ({ ms }) => ms / 3_600_000,
  Minutes: ({ ms }) => ms / 60_000,
  Seconds: ({ ms }) => ms / 1000,
  Milliseconds: ({ ms }) => BigInt(Math.trunc(ms)),
};

/** How many arguments each method takes beyond its receiver. */
const METHOD_ARGUMENTS: Readonly<Record<string, number>> = {
  Add: 1,
  Sub: 1,
  After: 1,
  Before: 1,
  Equal: 1,
};

function operand<T extends Time | Duration>(
  value: Value | undefined,
  kind: new (ms: number) => T,
): T {
  if (value instanceof kind) return value;
  throw new ExprError(`invalid argument ${textOf(value ?? null)}`);
}

/** Calls a method of a time or a duration; other values have none. */
export function callMethod(receiver: Value, name: string, args: readonly Value[]): Value {
  const wanted = METHOD_ARGUMENTS[name] ?? 0;
  if (receiver instanceof Time && Object.hasOwn(TIME_METHODS, name) && args.length === wanted) {
    return (TIME_METHODS[name] as Method<Time>)(receiver, args);
  }
  if (
    receiver instanceof Duration &&
    Object.hasOwn(DURATION_METHODS, name) &&
    args.length === wanted
  ) {
    return (DURATION_METHODS[name] as Method<Duration>)(receiver, args);
  }
  throw new ExprError(`cannot call method ${name} of ${textOf(receiver).slice(0, 100)}`);
}
