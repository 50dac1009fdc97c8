/**
 * Which backend and which arm answer a request: one number in [0, 1) is drawn, picks the backend by
 * the user's weights, and is rescaled to pick the arm inside it. The canary owns [0, weight), so a
 * sticky key that is in the canary stays there while the weight rises.
 *
 * An arm whose gate is closed is never chosen, whatever the snapshot says.
 */
import { hashToUnit } from "../base/hash.ts";
import type { Random } from "../base/random.ts";
import type { SplitHash } from "../compile/program.ts";
import type { Gates } from "../shared/gates.ts";
import type { MetricRecorder } from "../shared/metrics.ts";
import { cookieValue } from "./cookie.ts";
import type { RequestFields } from "./request-fields.ts";
import type { LinkedArm, LinkedBackend, LinkedRule, LinkedSplit, WeightedSet } from "./snapshot.ts";

/**
 * Why nobody answers. The first two are 500 (Gateway API `HTTPRouteRule.backendRefs`), the last
 * 503.
 */
export type NoChoice = "no_backend" | "invalid_backend" | "no_open_arm";

/** The result of a choice, a record of the exchange that is filled again for each request. */
export class Choice {
  backend: LinkedBackend | null = null;
  split: LinkedSplit | null = null;
  arm: LinkedArm | null = null;
}

export interface ChooseOptions {
  readonly head: RequestFields;
  /** The peer's address as text. */
  readonly clientAddress: string;
  readonly random: Random;
  readonly gates: Gates;
}

/**
 * Chooses backend and arm from `set` (a rule, or one model rule of it) into `choice`; returns why
 * it could not, or null. After "invalid_backend" and "no_open_arm" `choice.backend` is set all the
 * same.
 */
export function choose(
  choice: Choice,
  rule: LinkedRule,
  set: WeightedSet,
  options: ChooseOptions,
): NoChoice | null {
  choice.backend = null;
  choice.split = null;
  choice.arm = null;
  const key = splitKey(rule.part.splitHash, options.head, options.clientAddress);
  const unit = key === undefined ? options.random() : hashToUnit(key, rule.route);
  const index = chooseBackend(set, unit);
  if (index === -1) return "no_backend";
  choice.backend = set.backends[index] as LinkedBackend;
  const split = choice.backend.split?.value;
  if (split === undefined) return "invalid_backend";
  choice.split = split;
  // A sticky key stands where the split's salt puts it, whatever the weights of the backends are.
  const within =
    key === undefined ? unitWithin(set, index, unit) : hashToUnit(key, split.part.salt);
  choice.arm = chooseArm(split, within, options.gates);
  return choice.arm === null ? "no_open_arm" : null;
}

/** The position of the backend whose interval has `unit`, or -1 where the weights sum to 0. */
export function chooseBackend(set: WeightedSet, unit: number): number {
  if (set.weightSum === 0) return -1;
  return intervalOf(set.ends, unit);
}

/** `unit` as a number in [0, 1) inside the interval of the backend at `index`. */
export function unitWithin(set: WeightedSet, index: number, unit: number): number {
  const start = index === 0 ? 0 : (set.ends[index - 1] as number);
  const end = set.ends[index] as number;
  return Math.min(Math.max((unit - start) / (end - start), 0), UNIT_MAX);
}

/** The largest number below 1. */
const UNIT_MAX = 1 - 2 ** -53;

/** The first interval that ends after `unit`; empty intervals are passed over. */
function intervalOf(ends: readonly number[], unit: number): number {
  let last = 0;
  for (let index = 0; index < ends.length; index++) {
    const end = ends[index] as number;
    if (unit < end) return index;
    if (end > (last === 0 ? 0 : (ends[last - 1] as number))) last = index;
  }
  return last;
}

/** The arm whose interval has `unit`, or another if its gate is closed; null if all are. */
export function chooseArm(split: LinkedSplit, unit: number, gates: Gates): LinkedArm | null {
  if (split.arms.length === 0) return null;
  const arm = split.arms[intervalOf(split.ends, unit)] as LinkedArm;
  if (arm.arm.weightBp > 0 && gates.isOpen(arm.gate)) return arm;
  return (
    otherArm(split, arm, gates) ??
    // An abort closes the canary's gate before the stable arm, at weight 0, has got its share back.
    split.arms.find((other) => other.arm.role === "stable" && gates.isOpen(other.gate)) ??
    null
  );
}

/** An arm other than `arm` that has weight and an open gate: who answers after `arm` failed. */
export function otherArm(split: LinkedSplit, arm: LinkedArm, gates: Gates): LinkedArm | null {
  for (const other of split.arms) {
    if (other !== arm && other.arm.weightBp > 0 && gates.isOpen(other.gate)) return other;
  }
  return null;
}

/**
 * Who takes a request whose arm was closed before anything was sent. Where the split that the
 * request holds has nobody left, its arms have all been replaced meanwhile, and the split of now is
 * asked.
 */
export function openArm(choice: Choice, gates: Gates): LinkedArm | null {
  const { split, backend } = choice;
  const arm = split === null ? null : chooseArm(split, 0, gates);
  if (arm !== null) return arm;
  const now = backend?.split?.value;
  return now === undefined ? null : chooseArm(now, 0, gates);
}

/** What makes a request sticky, or undefined where it has no such thing and draws anew. */
export function splitKey(
  splitHash: SplitHash | undefined,
  head: RequestFields,
  clientAddress: string,
): string | undefined {
  if (splitHash === undefined) return undefined;
  switch (splitHash.type) {
    case "sourceIP":
      return clientAddress;
    case "header":
      return head.header(splitHash.name.toLowerCase()) || undefined;
    case "cookie":
      break;
  }
  return cookieValue(head.header("cookie"), splitHash.name) || undefined;
}

/**
 * How many arms a rule remembers; weights change their arms, so the memory is emptied when full.
 */
const ARM_ROWS_MAX = 32;

/** The metrics row of an arm on a route. Found once per linked pair, for a search costs a hash. */
export function armRow(rule: LinkedRule, arm: LinkedArm, metrics: MetricRecorder): number {
  let row = rule.armRows.get(arm);
  if (row === undefined) {
    row = metrics.row(rule.route, arm.arm.id);
    if (rule.armRows.size >= ARM_ROWS_MAX) rule.armRows.clear();
    rule.armRows.set(arm, row);
  }
  return row;
}
