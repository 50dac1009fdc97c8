/**
 * Brings each Program to every worker and knows what has arrived: the control side of the one arrow
 * that goes down. A generation is acknowledged when every live worker has put it in place; what
 * controllers are told about the data plane is only ever that.
 *
 * Generations only grow, also across control threads: a new one begins above what its workers
 * serve.
 */
import type { MessagePort } from "node:worker_threads";
import type { Cancel, Clock } from "../base/clock.ts";
import { sameMap } from "../base/same-map.ts";
import type { Compiled } from "../compile/compiled.ts";
import type { PartKey, SplitPart } from "../compile/program.ts";
import { Channel, type Published } from "./channel.ts";
import { Contents } from "./contents.ts";
import { Ledger, type GateSlots, type MetricRow, type RowSlots } from "./ledger.ts";

export interface DeliveryOptions {
  readonly gates: GateSlots;
  readonly rows: RowSlots;
  readonly clock: Clock;
  /** Called after every generation that all live workers have put in place. */
  readonly onAcknowledged?: () => void;
}

/** How long a socket that could not be opened is left alone. */
const RETRY_MS = 5000;

export type Publishable = Pick<Compiled, "parts" | "credentials" | "routesOf">;

/** Its methods for controllers are those of DataPlaneView (control/data-plane.ts). */
export class Delivery {
  readonly #options: DeliveryOptions;
  readonly #contents = new Contents();
  readonly #ledger: Ledger;
  readonly #channels = new Map<number, Channel>();
  readonly #listeners = new Set<() => void>();
  #generation = 0;
  #latest: Published | undefined;
  #routesOf: Publishable["routesOf"] = new Map();
  #acknowledged: Published | undefined;
  /** What was told of workers' failures last. */
  #failures: ReadonlyMap<PartKey, string> = new Map();
  #cancelSweep: Cancel | undefined;
  #cancelRetry: Cancel | undefined;

  constructor(options: DeliveryOptions) {
    this.#options = options;
    this.#ledger = new Ledger(options.gates, options.rows);
    if (options.onAcknowledged !== undefined) this.#listeners.add(options.onAcknowledged);
  }

  /** The latest generation that was published; 0 before the first. */
  get generation(): number {
    return this.#latest?.generation ?? 0;
  }

  /** The generation that every live worker serves; 0 while there is none. */
  get acknowledgedGeneration(): number {
    return this.#acknowledged?.generation ?? 0;
  }

  /** Sends a Program to every worker; returns its generation. Equal Programs are one generation. */
  publish({ parts, credentials, routesOf }: Publishable): number {
    this.#routesOf = routesOf;
    const changes = this.#contents.update(parts);
    const known = this.#latest;
    if (known !== undefined && changes.length === 0 && sameMap(known.credentials, credentials)) {
      return known.generation;
    }
    this.#generation += 1;
    this.#latest = { generation: this.#generation, parts, credentials };
    this.#ledger.publish(changes, this.#generation);
    for (const channel of this.#channels.values()) {
      channel.markChanged(changes.map((change) => change.key));
      channel.send(this.#latest);
    }
    return this.#generation;
  }

  /**
   * A worker has come; `port` is this side's end of a channel to it. Replaces one of that index.
   */
  addWorker(index: number, port: MessagePort): void {
    // Nothing is settled in between: the one that comes may serve less than those that stay.
    this.#drop(index);
    const channel = new Channel(port, this.#contents, {
      onReady: (generation) => this.#onReady(channel, generation),
      onAcknowledged: () => {
        if (this.#latest !== undefined) channel.send(this.#latest);
        this.#settle();
      },
      onClosed: () => {
        if (this.#channels.get(index) === channel) this.removeWorker(index);
      },
    });
    this.#channels.set(index, channel);
  }

  /** A worker has gone: what the others have acknowledged is acknowledged. */
  removeWorker(index: number): void {
    if (this.#drop(index)) this.#settle();
  }

  /** The split that every live worker serves by now. */
  acknowledgedSplit(key: PartKey): SplitPart | undefined {
    const part = this.#acknowledged?.parts.get(key);
    return part?.type === "split" ? part : undefined;
  }

  /** Whether every live worker serves a part of this key by now. */
  serves(key: PartKey): boolean {
    return this.#acknowledged?.parts.has(key) ?? false;
  }

  /** Routes ("NAMESPACE/NAME") whose rules send requests through this split. */
  routesOf(key: PartKey): readonly string[] {
    return this.#routesOf.get(key) ?? [];
  }

  /** Closes an arm at once on every worker, or lets its weight decide again. */
  setGate(armId: string, open: boolean): void {
    this.#ledger.setGate(armId, open);
  }

  /**
   * Calls `listener` after every acknowledged generation, and when `failures` have changed; returns how to
   * stop that.
   */
  onAcknowledged(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Parts that some worker could not put to work, by key, and why. */
  failures(): ReadonlyMap<PartKey, string> {
    const failures = new Map<PartKey, string>();
    for (const channel of this.#channels.values()) {
      for (const { key, message } of channel.failures) failures.set(key, message);
    }
    return failures;
  }

  /** Whether a worker has this part, sent by this control thread or by one before it. */
  isHeld(key: PartKey): boolean {
    return [...this.#channels.values()].some((channel) => channel.holds(key));
  }

  /** Workers that have said what they hold. */
  get readyCount(): number {
    return [...this.#channels.values()].filter((channel) => channel.isReady).length;
  }

  /**
   * Rows of metrics that mean something: of routes and arms that are served or were until lately.
   */
  rows(): IterableIterator<MetricRow> {
    return this.#ledger.rows();
  }

  close(): void {
    this.#cancelSweep?.();
    this.#cancelRetry?.();
    this.#listeners.clear();
    for (const channel of this.#channels.values()) channel.close();
    this.#channels.clear();
  }

  #drop(index: number): boolean {
    const channel = this.#channels.get(index);
    if (channel === undefined) return false;
    this.#channels.delete(index);
    channel.close();
    return true;
  }

  #onReady(channel: Channel, served: number): void {
    this.#generation = Math.max(this.#generation, served);
    if (this.#latest === undefined) return;
    if (served >= this.#latest.generation) {
      // The worker serves what another control thread sent, so this Program must be a later one.
      this.#renumber();
    } else {
      channel.send(this.#latest);
    }
    this.#settle();
  }

  /** Sends the latest Program again under a generation of its own. */
  #renumber(): void {
    if (this.#latest === undefined) return;
    this.#generation += 1;
    this.#latest = { ...this.#latest, generation: this.#generation };
    for (const channel of this.#channels.values()) channel.send(this.#latest);
  }

  /**
   * Finds out what every live worker serves, and says so when that is later than before, or when what
   * they could not do is something else, as where one has come in place of another.
   */
  #settle(): void {
    const channels = [...this.#channels.values()];
    if (channels.some((channel) => channel.isBlind)) return;
    const sure = channels.filter((channel) => channel.acknowledged !== undefined);
    if (sure.length === 0) {
      if (channels.length === 0) this.#acknowledged = undefined;
      return;
    }
    let oldest: Published | undefined;
    for (const { oldest: own } of channels) {
      if (own !== undefined && (oldest === undefined || own.generation < oldest.generation)) {
        oldest = own;
      }
    }
    if (oldest === undefined) return;
    const failures = this.failures();
    if (oldest === this.#acknowledged && sameMap(failures, this.#failures)) return;
    this.#acknowledged = oldest;
    this.#failures = failures;
    // Gates close before anybody hears that the weight is gone.
    this.#sweep();
    this.#retryLater();
    for (const listener of this.#listeners) listener();
  }

  /** A port that was taken may be free by now: workers try again with every generation. */
  #retryLater(): void {
    this.#cancelRetry?.();
    this.#cancelRetry =
      this.failures().size === 0
        ? undefined
        : this.#options.clock.after(RETRY_MS, () => this.#renumber());
  }

  #sweep(): void {
    const { clock } = this.#options;
    this.#ledger.acknowledge(this.acknowledgedGeneration, clock.monotonic());
    this.#cancelSweep?.();
    const nextMs = this.#ledger.nextFreeMs();
    this.#cancelSweep =
      nextMs === undefined
        ? undefined
        : clock.after(Math.max(nextMs - clock.monotonic(), 1000), () => this.#sweep());
  }
}

export function createDelivery(options: DeliveryOptions): Delivery {
  return new Delivery(options);
}
