/**
 * The words in which kinds are described: strict objects and choices whose refusals name what was
 * met and what would be valid. A schema made of these serves parsing, OpenAPI and editors alike.
 *
 * Nothing is dropped in silence: a field is in the shape, or refused as unsupported, or unknown.
 */
import { z } from "zod";

export interface ObjectOptions {
  /** Fields which users of the format know and which this version does not build. */
  readonly unsupported?: readonly string[];
  /** Fields refused for a reason of their own: a sentence without its subject. */
  readonly refused?: Readonly<Record<string, string>>;
}

const NOT_SUPPORTED = "is not supported by this version";

/** Of so many fields of one object it is said what might be meant: looking takes its time. */
const FIELDS_REFUSED_MAX = 200;

/** A strict object. Its message for several unknown fields has one line for each, in order. */
export function object<const Shape extends z.ZodRawShape>(
  shape: Shape,
  options: ObjectOptions = {},
): z.ZodObject<Shape, z.core.$strict> {
  const valid = Object.keys(shape);
  return z.strictObject(shape, {
    error: (issue) =>
      issue.code === "unrecognized_keys"
        ? issue.keys
            .slice(0, FIELDS_REFUSED_MAX)
            .map((key) => refuseField(key, valid, options))
            .join("\n")
        : undefined,
  });
}

function refuseField(field: string, valid: readonly string[], options: ObjectOptions): string {
  const reason = Object.hasOwn(options.refused ?? {}, field) ? options.refused?.[field] : undefined;
  if (reason !== undefined) return reason;
  const listed = valid.length === 0 ? "no field is valid here" : `valid: ${valid.join(", ")}`;
  if (options.unsupported?.includes(field) === true) return `${NOT_SUPPORTED}; ${listed}`;
  const near = nearest(field, valid);
  return near === undefined
    ? `is not a field; ${listed}`
    : `is not a field; did you mean "${near}"? ${listed}`;
}

/** One of `values`; a value listed in `unsupported` is refused as known but not built. */
export function choice<const Values extends readonly string[]>(
  values: Values,
  unsupported: readonly string[] = [],
): z.ZodEnum<{ [Value in Values[number]]: Value }> {
  return z.enum(values, {
    error: ({ input }) => {
      if (input === undefined) return `is required; valid: ${values.join(", ")}`;
      // YAML reads 1.3 as a number; what is meant is plain.
      if (typeof input === "number" && values.includes(String(input))) {
        return "must be text, is a number; write it in quotes";
      }
      if (typeof input !== "string") return undefined;
      const listed = `valid: ${values.join(", ")}`;
      if (unsupported.includes(input)) {
        return `${input === "" ? '""' : input} ${NOT_SUPPORTED}; ${listed}`;
      }
      const near = nearest(input, values);
      const hint = near === undefined ? "" : ` did you mean "${near}"?`;
      return `${quoted(input)} is not a valid value;${hint} ${listed}`;
    },
  });
}

/** Text of a form: refused as "must be WHAT, is "…"". */
export function text(form: RegExp, what: string, lengthMax = 253): z.ZodString {
  return z
    .string()
    .max(lengthMax)
    .regex(form, { error: ({ input }) => `must be ${what}, is ${quoted(input)}` });
}

/** Free text of 1 to `lengthMax` characters. */
export function words(lengthMax = 4096): z.ZodString {
  return z.string().min(1).max(lengthMax);
}

export function integer(min: number, max: number): z.ZodNumber {
  return z.number().int().min(min).max(max);
}

/** A port number, 1 to 65535. */
export function port(): z.ZodNumber {
  return integer(1, 65_535);
}

/** Kubernetes' IntOrString. */
export function intOrString(): z.ZodUnion<[z.ZodNumber, z.ZodString]> {
  return z.union([z.number().int(), z.string().max(1024)], {
    error: "must be an integer or a string",
  });
}

/** A map of strings, as labels, selectors and `matchLabels` are. */
export function stringMap(entriesMax = 1024): z.ZodRecord<z.ZodString, z.ZodString> {
  return z
    .record(z.string().max(1024), z.string())
    .refine((map) => Object.keys(map).length <= entriesMax, {
      error: `must have at most ${entriesMax} entries`,
    });
}

/** What a schema adds to the issues of a value that is well-formed in itself. */
export type Refuse = (path: readonly (string | number)[], message: string) => void;

/** Wraps a check across fields for `superRefine`, so that checks need not know zod. */
export function across<Value>(
  check: (value: Value, refuse: Refuse) => void,
): (value: Value, context: z.core.$RefinementCtx<Value>) => void {
  return (value, context) => {
    check(value, (path, message) => {
      context.addIssue({ code: "custom", path: [...path], message, input: value });
    });
  };
}

/**
 * As `across`, for rules between the entries of lists: they are said even where other things in the
 * value are wrong, so that all of a document is said at once. The check may then meet values of a
 * wrong form; what it stumbles over has been refused already.
 */
export function throughout<Value>(check: (value: Value, refuse: Refuse) => void) {
  const refine = across(check);
  const refineAnyway: typeof refine = (value, context) => {
    const isWellFormed = context.issues.length === 0;
    try {
      refine(value, context);
    } catch (error) {
      if (isWellFormed) throw error;
    }
  };
  return [refineAnyway, { when: () => true }] as const;
}

/** Refuses every item of a list whose `keyOfItem` was met before in it. */
export function refuseDuplicates<Item>(
  items: readonly Item[] | undefined,
  options: {
    readonly path: readonly (string | number)[];
    readonly field?: string;
    readonly keyOfItem: (item: Item) => string | undefined;
    readonly what: string;
  },
  refuse: Refuse,
): void {
  if (items === undefined || items.length < 2) return;
  const seen = new Map<string, number>();
  for (const [index, item] of items.entries()) {
    const key = options.keyOfItem(item);
    if (key === undefined) continue;
    const first = seen.get(key);
    if (first === undefined) {
      seen.set(key, index);
      continue;
    }
    const place = [...options.path, index, ...(options.field === undefined ? [] : [options.field])];
    refuse(place, `repeats ${options.what} ${quoted(key)} of entry ${first}; each may stand once`);
  }
}

/** A value for a message: in quotes, one line, cut to 64 characters. */
export function quoted(value: unknown): string {
  const shown = typeof value === "string" ? value : (JSON.stringify(value) ?? "");
  return JSON.stringify(shown.length > 64 ? `${shown.slice(0, 64)}…` : shown);
}

/** The candidate that a person most likely meant: at most a third of its letters differ. */
export function nearest(input: string, candidates: readonly string[]): string | undefined {
  if (input.length > 64) return undefined;
  let best: string | undefined;
  let bestDistance = Infinity;
  for (const candidate of candidates) {
    const distance = editDistance(input.toLowerCase(), candidate.toLowerCase());
    if (distance <= Math.max(1, candidate.length / 3) && distance < bestDistance) {
      best = candidate;
      bestDistance = distance;
    }
  }
  return best;
}

function editDistance(a: string, b: string): number {
  let previous = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (let row = 1; row <= a.length; row++) {
    const current = [row];
    for (let column = 1; column <= b.length; column++) {
      const replaced = (previous[column - 1] ?? 0) + (a[row - 1] === b[column - 1] ? 0 : 1);
      const shifted = Math.min(previous[column] ?? 0, current[column - 1] ?? 0) + 1;
      current.push(Math.min(replaced, shifted));
    }
    previous = current;
  }
  return previous[b.length] ?? 0;
}
