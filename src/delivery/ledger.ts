/**
 * Who needs a row of metrics and a gate. Places in shared memory are reserved before any worker
 * hears of a route or an arm, and given back some time after every worker has acknowledged a
 * generation without it: a request that began before may still count, and Prometheus must see the
 * last counts. What a control thread before this one reserved and left is given back likewise.
 *
 * It also keeps the gates as the weights want them: open before an arm gets weight, closed once
 * every worker has acknowledged that it has none. An arm that a controller closed stays closed
 * until the controller opens it.
 */
import type { ModelRoutePart, Part, PartKey, RulePart, SplitPart } from "../compile/program.ts";
import type { Change } from "./contents.ts";

/** Gates of shared memory, as far as the control thread works them. */
export interface GateSlots {
  reserve(armId: string): void;
  set(armId: string, open: boolean): void;
  remove(armId: string): void;
  keepOnly(armIds: Iterable<string>): void;
}

/**
 * Rows of shared metrics, as far as the control thread works them. The arm "" is the route itself.
 */
export interface RowSlots {
  reserve(route: string, armId: string): void;
  remove(route: string, armId: string): void;
  keepOnly(rows: Iterable<MetricRow>): void;
}

/** A row that is in use or was until lately. */
export interface MetricRow {
  readonly route: string;
  readonly armId: string;
}

/** Three times as long as Prometheus looks back for a sample. */
export const RETENTION_MS = 15 * 60_000;

interface Use {
  readonly free: () => void;
  count: number;
  /** The first generation without it. */
  unusedSince: number;
  freeAtMs: number;
}

export class Ledger {
  readonly #gates: GateSlots;
  readonly #rows: RowSlots;
  /** By "ROUTE\nARM"; a route's own row has the arm "". */
  readonly #rowUses = new Map<string, Use & MetricRow>();
  readonly #armUses = new Map<string, Use>();
  readonly #unused = new Set<Use>();
  readonly #rules = new Map<PartKey, RulePart | ModelRoutePart>();
  readonly #rowsOfRule = new Map<PartKey, readonly MetricRow[]>();
  readonly #rulesOfSplit = new Map<PartKey, Set<PartKey>>();
  readonly #splits = new Map<PartKey, SplitPart>();
  /** Whether an arm is wanted open, by the splits that have it. */
  readonly #wanted = new Map<string, Map<PartKey, boolean>>();
  /** Arms that nobody wants open, and the first generation without one that does. */
  readonly #closing = new Map<string, number>();
  readonly #closedByController = new Set<string>();
  /** When places that nobody here knows are given back: 0 before workers serve what is known here. */
  #inheritedFreeAtMs = 0;

  constructor(gates: GateSlots, rows: RowSlots) {
    this.#gates = gates;
    this.#rows = rows;
  }

  /** Rows in use, and those that were until lately. */
  *rows(): IterableIterator<MetricRow> {
    for (const { route, armId } of this.#rowUses.values()) yield { route, armId };
  }

  /** Takes in what `generation` changes, before any worker hears of it. */
  publish(changes: readonly Change[], generation: number): void {
    const rules = new Set<PartKey>();
    for (const { key, before, after } of changes) {
      if (isRule(before) || isRule(after)) {
        this.#nameSplits(key, before, after);
        rules.add(key);
      } else if (isSplit(before) || isSplit(after)) {
        this.#replaceSplit(key, isSplit(before) ? before : undefined, {
          after: isSplit(after) ? after : undefined,
          generation,
        });
        if (armIds(before) !== armIds(after)) {
          for (const rule of this.#rulesOfSplit.get(key) ?? []) rules.add(rule);
        }
      }
    }
    for (const key of rules) this.#countRows(key, generation);
  }

  /** Every worker serves `generation` or a later one. Frees what has been unused long enough. */
  acknowledge(generation: number, nowMs: number): void {
    for (const [armId, since] of this.#closing) {
      if (since > generation) continue;
      this.#gates.set(armId, false);
      this.#closing.delete(armId);
    }
    for (const use of this.#unused) {
      if (use.unusedSince > generation) continue;
      if (use.freeAtMs === 0) use.freeAtMs = nowMs + RETENTION_MS;
      if (use.freeAtMs > nowMs) continue;
      this.#unused.delete(use);
      use.free();
    }
    this.#freeInherited(nowMs);
  }

  #freeInherited(nowMs: number): void {
    if (this.#inheritedFreeAtMs === 0) this.#inheritedFreeAtMs = nowMs + RETENTION_MS;
    if (this.#inheritedFreeAtMs > nowMs) return;
    this.#inheritedFreeAtMs = Infinity;
    this.#gates.keepOnly(this.#armUses.keys());
    this.#rows.keepOnly(this.rows());
  }

  /** When `acknowledge` will have something to free; undefined where nothing waits. */
  nextFreeMs(): number | undefined {
    let nextMs = this.#inheritedFreeAtMs === 0 ? Infinity : this.#inheritedFreeAtMs;
    for (const { freeAtMs } of this.#unused) {
      if (freeAtMs > 0 && freeAtMs < nextMs) nextMs = freeAtMs;
    }
    return nextMs === Infinity ? undefined : nextMs;
  }

  /** A controller closes an arm ahead of any generation, or lets its weight decide again. */
  setGate(armId: string, open: boolean): void {
    if (open) {
      this.#closedByController.delete(armId);
      if (this.#isWanted(armId)) this.#gates.set(armId, true);
      return;
    }
    if (this.#wanted.has(armId)) this.#closedByController.add(armId);
    // An arm of long ago has no gate any more, and must not get one for being closed.
    if (this.#armUses.has(armId)) this.#gates.set(armId, false);
  }

  /**
   * An arm with weight; and a stable one without, which takes over at once when the canary that has
   * all the weight is closed.
   */
  #isWanted(armId: string): boolean {
    return [...(this.#wanted.get(armId)?.values() ?? [])].includes(true);
  }

  #replaceSplit(
    key: PartKey,
    before: SplitPart | undefined,
    { after, generation }: { readonly after: SplitPart | undefined; readonly generation: number },
  ): void {
    if (after === undefined) this.#splits.delete(key);
    else this.#splits.set(key, after);
    for (const arm of after?.arms ?? []) this.#useArm(arm.id, 1, generation);
    for (const arm of before?.arms ?? []) {
      this.#useArm(arm.id, -1, generation);
      this.#wanted.get(arm.id)?.delete(key);
    }
    for (const arm of after?.arms ?? []) {
      const wanted = this.#wanted.get(arm.id) ?? new Map<PartKey, boolean>();
      this.#wanted.set(arm.id, wanted.set(key, arm.weightBp > 0 || arm.role === "stable"));
    }
    const touched = new Set([...(before?.arms ?? []), ...(after?.arms ?? [])].map((arm) => arm.id));
    for (const armId of touched) this.#workGate(armId, generation);
  }

  #workGate(armId: string, generation: number): void {
    if (this.#isWanted(armId)) {
      this.#closing.delete(armId);
      if (!this.#closedByController.has(armId)) this.#gates.set(armId, true);
      return;
    }
    if (!this.#closing.has(armId)) this.#closing.set(armId, generation);
    if (this.#wanted.get(armId)?.size === 0) {
      this.#wanted.delete(armId);
      this.#closedByController.delete(armId);
    }
  }

  #useArm(armId: string, by: number, generation: number): void {
    let use = this.#armUses.get(armId);
    if (use === undefined) {
      const free = (): void => {
        this.#armUses.delete(armId);
        this.#gates.remove(armId);
      };
      use = { free, count: 0, unusedSince: 0, freeAtMs: 0 };
      this.#armUses.set(armId, use);
    }
    if (use.count === 0 && by > 0) this.#gates.reserve(armId);
    this.#change(use, by, generation);
  }

  #nameSplits(key: PartKey, before: Part | undefined, after: Part | undefined): void {
    for (const split of isRule(before) ? splitsOf(before) : []) {
      const rules = this.#rulesOfSplit.get(split);
      rules?.delete(key);
      if (rules?.size === 0) this.#rulesOfSplit.delete(split);
    }
    if (!isRule(after)) {
      this.#rules.delete(key);
      return;
    }
    this.#rules.set(key, after);
    for (const split of splitsOf(after)) {
      const rules = this.#rulesOfSplit.get(split) ?? new Set();
      this.#rulesOfSplit.set(split, rules.add(key));
    }
  }

  #countRows(key: PartKey, generation: number): void {
    const rule = this.#rules.get(key);
    const rows = rule === undefined ? [] : this.#rowsFor(rule);
    for (const row of rows) this.#useRow(row, 1, generation);
    for (const row of this.#rowsOfRule.get(key) ?? []) this.#useRow(row, -1, generation);
    if (rule === undefined) this.#rowsOfRule.delete(key);
    else this.#rowsOfRule.set(key, rows);
  }

  #rowsFor(rule: RulePart | ModelRoutePart): readonly MetricRow[] {
    const arms = splitsOf(rule).flatMap((key) => this.#splits.get(key)?.arms ?? []);
    return ["", ...arms.map((arm) => arm.id)].map((armId) => ({ route: rule.route, armId }));
  }

  #useRow({ route, armId }: MetricRow, by: number, generation: number): void {
    const key = `${route}\n${armId}`;
    let use = this.#rowUses.get(key);
    if (use === undefined) {
      const free = (): void => {
        this.#rowUses.delete(key);
        this.#rows.remove(route, armId);
      };
      use = { free, count: 0, unusedSince: 0, freeAtMs: 0, route, armId };
      this.#rowUses.set(key, use);
    }
    if (use.count === 0 && by > 0) this.#rows.reserve(route, armId);
    this.#change(use, by, generation);
  }

  #change(use: Use, by: number, generation: number): void {
    use.count += by;
    if (use.count > 0) {
      this.#unused.delete(use);
      return;
    }
    use.unusedSince = generation;
    use.freeAtMs = 0;
    this.#unused.add(use);
  }
}

function isRule(part: Part | undefined): part is RulePart | ModelRoutePart {
  return part?.type === "rule" || part?.type === "models";
}

function isSplit(part: Part | undefined): part is SplitPart {
  return part?.type === "split";
}

function splitsOf(rule: RulePart | ModelRoutePart): readonly PartKey[] {
  const backends = rule.type === "rule" ? rule.backends : rule.rules.flatMap((one) => one.backends);
  return backends.flatMap((backend) => (backend.split === undefined ? [] : [backend.split]));
}

function armIds(part: Part | undefined): string {
  return isSplit(part) ? part.arms.map((arm) => arm.id).join("\n") : "";
}
