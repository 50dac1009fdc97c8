/**
 * Links the Program: keyed plain parts become the objects that requests walk. A batch of changed
 * parts is prepared in steps beside what is being served and then put in place by `commit`, one
 * synchronous pass over cells, so that no request sees half of a generation.
 *
 * Keys that are named but absent have an empty cell, so parts may arrive in any order.
 */
import type {
  Arm,
  ListenerTls,
  Part,
  PartKey,
  SocketPart,
  SplitPart,
  TablePart,
} from "../compile/program.ts";
import type { PartEnvelope, PartFailure } from "../process/messages.ts";
import { ALWAYS_CLOSED, ALWAYS_OPEN, type Gates } from "../shared/gates.ts";
import type { MetricRecorder } from "../shared/metrics.ts";
import { linkDetection } from "./client-address.ts";
import { HostTable } from "./host-table.ts";
import { linkMatcher, linkPage, type Steps } from "./link-paths.ts";
import { brokenRule, intervalEnds, linkModelRoute, linkRule, type RuleLinks } from "./link-rule.ts";
import { referencesOf } from "./references.ts";
import { isSafeHeader } from "./rewrite.ts";
import {
  cellsAssigned,
  type Cell,
  type LinkedArm,
  type LinkedAuthorities,
  type LinkedCertificate,
  type LinkedClient,
  type LinkedCredential,
  type LinkedListener,
  type LinkedListenerTls,
  type LinkedPage,
  type LinkedRule,
  type LinkedSocket,
  type LinkedSplit,
  type LinkedTable,
  type PathMatcher,
  type Snapshot,
} from "./snapshot.ts";

/** What changes from one generation to a later one; null removes. */
export interface Batch {
  readonly generation: number;
  readonly parts: ReadonlyMap<PartKey, PartEnvelope | null>;
  readonly credentials: ReadonlyMap<string, string | null>;
}

/** A batch that is ready to be put in place. */
export interface Prepared {
  readonly generation: number;
  readonly assignments: readonly (() => void)[];
}

export interface LinkerOptions {
  readonly metrics: MetricRecorder;
  readonly gates: Gates;
  /** `Limits.seed`. */
  readonly limitSeed: number;
}

/** A key: its cell, what was last put there, and how many parts name it. */
interface Slot {
  readonly cell: Cell<unknown>;
  part: Part | undefined;
  hash: string;
  users: number;
}

/** The matcher of one host of one table. */
interface HostSlot {
  readonly cell: Cell<PathMatcher>;
  pages: readonly PartKey[];
}

interface LinkedKeySet {
  readonly pages: readonly Cell<LinkedKeyPage>[];
}

interface LinkedKeyPage {
  readonly clients: ReadonlyMap<string, string>;
}

const NO_PAGE: LinkedPage = { matches: [], tier: 0 };

export class Linker {
  readonly #options: LinkerOptions;
  readonly #slots = new Map<PartKey, Slot>();
  /** By table, then by hostname. */
  readonly #hosts = new Map<PartKey, Map<string, HostSlot>>();
  readonly #hostsOfPage = new Map<PartKey, Set<HostSlot>>();
  readonly #credentials = new Map<string, string>();
  readonly #sockets = new Map<PartKey, Cell<LinkedSocket>>();
  /** Parts that could not be linked as they are, for as long as they stay. */
  readonly #failures = new Map<PartKey, PartFailure>();
  readonly #links: RuleLinks;
  #snapshot: Snapshot = { generation: 0, sockets: new Map() };

  constructor(options: LinkerOptions) {
    this.#options = options;
    this.#links = {
      split: (key) => this.#cell<LinkedSplit>(key),
      certificate: (key) => this.#cell<LinkedCertificate>(key),
      clientOf: (keys, digest) => this.#clientOf(keys, digest),
      row: (route) => options.metrics.row(route, ""),
      seed: options.limitSeed,
    };
  }

  get snapshot(): Snapshot {
    return this.#snapshot;
  }

  get failures(): readonly PartFailure[] {
    return [...this.#failures.values()];
  }

  /** What is linked, for a control thread that has just come. */
  *hashes(): IterableIterator<readonly [PartKey, string]> {
    for (const [key, slot] of this.#slots) if (slot.part !== undefined) yield [key, slot.hash];
  }

  /** Keys that are known, whether there is a part or only a reference to one. */
  get keyCount(): number {
    return this.#slots.size;
  }

  /** Prepares and commits at once, for callers whose event loop has nothing else to do. */
  link(parts: Iterable<Part>, credentials: ReadonlyMap<string, string> = new Map()): Snapshot {
    const envelopes = new Map<PartKey, PartEnvelope>();
    for (const part of parts) envelopes.set(part.key, { part, hash: "" });
    const generation = this.#snapshot.generation + 1;
    const steps = this.prepare({ generation, parts: envelopes, credentials });
    for (;;) {
      const step = steps.next();
      if (step.done === true) return this.commit(step.value);
    }
  }

  /** Links a batch, yielding wherever it may be interrupted. What was begun must be committed. */
  *prepare(batch: Batch): Steps<Prepared> {
    const assignments: (() => void)[] = [];
    for (const [ref, value] of batch.credentials) {
      if (value === null) this.#credentials.delete(ref);
      else this.#credentials.set(ref, value);
    }
    const pages = new Map<PartKey, LinkedPage>();
    const stale = new Set<HostSlot>();
    for (const [key, envelope] of batch.parts) {
      const slot = this.#slot(key);
      const linked = envelope === null ? undefined : yield* this.#tryPart(envelope.part);
      this.#replace(slot, envelope);
      if (envelope?.part.type === "page")
        pages.set(key, (linked as LinkedPage | undefined) ?? NO_PAGE);
      if (envelope?.part.type === "table") {
        for (const host of this.#updateHosts(envelope.part)) stale.add(host);
      } else if (envelope === null) {
        this.#failures.delete(key);
        this.#dropHosts(key);
        pages.set(key, NO_PAGE);
      }
      for (const host of this.#hostsOfPage.get(key) ?? []) stale.add(host);
      assignments.push(() => {
        slot.cell.value = linked;
        if (slot.part === undefined && slot.users === 0) this.#slots.delete(key);
      });
      yield;
    }
    for (const host of stale) assignments.push(yield* this.#linkHost(host, pages));
    return { generation: batch.generation, assignments };
  }

  /** Puts a prepared batch in place. A request that runs afterwards sees all of it. */
  commit({ generation, assignments }: Prepared): Snapshot {
    for (const assign of assignments) assign();
    cellsAssigned();
    this.#snapshot = { generation, sockets: new Map(this.#sockets) };
    return this.#snapshot;
  }

  *#linkHost(host: HostSlot, fresh: ReadonlyMap<PartKey, LinkedPage>): Steps<() => void> {
    const pages = host.pages.map(
      (key) => fresh.get(key) ?? (this.#slots.get(key)?.cell.value as LinkedPage | undefined),
    );
    const matcher = yield* linkMatcher(pages.filter((page) => page !== undefined));
    return () => {
      host.cell.value = matcher;
    };
  }

  /** A part that nothing can be made of counts as absent: it must not end the worker. */
  *#tryPart(part: Part): Steps<unknown> {
    this.#failures.delete(part.key);
    try {
      return yield* this.#linkPart(part);
    } catch (error) {
      const message = error instanceof Error ? error.message : "Cannot link the part";
      this.#failures.set(part.key, { key: part.key, message });
      return undefined;
    }
  }

  *#linkPart(part: Part): Steps<unknown> {
    switch (part.type) {
      case "page": {
        const failures: PartFailure[] = [];
        const page = yield* linkPage(part, (key) => this.#cell<LinkedRule>(key), failures);
        if (failures[0] !== undefined) this.#failures.set(part.key, failures[0]);
        return page;
      }
      case "rule":
      case "models":
        try {
          return part.type === "rule"
            ? linkRule(part, this.#links)
            : linkModelRoute(part, this.#links);
        } catch (error) {
          const message = error instanceof Error ? error.message : "Cannot link the rule";
          this.#failures.set(part.key, { key: part.key, message });
          return brokenRule(part, this.#links);
        }
      case "split":
        return this.#linkSplit(part);
      case "pool":
        return { part };
      case "keys":
        return { pages: part.pages.map((key) => this.#cell<LinkedKeyPage>(key)) };
      case "keyPage":
        return { clients: new Map(Object.entries(part.clients)) };
      case "table":
        return this.#linkTable(part);
      case "socket":
        return this.#linkSocket(part);
      case "certificate": {
        const privateKey = this.#credentials.get(part.privateKey.ref) ?? null;
        return { part, privateKey } satisfies LinkedCertificate;
      }
      case "client":
        return {
          part,
          detection: linkDetection(part.clientIpDetection),
        } satisfies LinkedClient;
      case "authorities":
        break;
    }
    return { part };
  }

  #linkSocket(part: SocketPart): LinkedSocket {
    const listeners = part.listeners.map(({ hostname, table, client, tls }) => {
      const linked: LinkedListener = {
        hostname,
        table: this.#cell<LinkedTable>(table),
        client: client === undefined ? null : this.#cell<LinkedClient>(client),
        tls: tls === undefined ? null : this.#linkTls(tls),
      };
      return [hostname, linked] as const;
    });
    const client = part.client === undefined ? null : this.#cell<LinkedClient>(part.client);
    const secure = part.listeners.some(({ tls }) => tls !== undefined);
    return { part, secure, client, listeners: new HostTable(listeners) };
  }

  #linkTls(tls: ListenerTls): LinkedListenerTls {
    const authorities = tls.clientValidation?.authorities;
    return {
      part: tls,
      certificates: tls.certificates.map((key) => this.#cell<LinkedCertificate>(key)),
      authorities: authorities === undefined ? null : this.#cell<LinkedAuthorities>(authorities),
    };
  }

  #linkTable(part: TablePart): LinkedTable {
    let slots = this.#hosts.get(part.key);
    if (slots === undefined) this.#hosts.set(part.key, (slots = new Map()));
    const cells: (readonly [string, Cell<PathMatcher>])[] = [];
    for (const { hostname } of part.hosts) {
      let slot = slots.get(hostname);
      if (slot === undefined)
        slots.set(hostname, (slot = { cell: { value: undefined }, pages: [] }));
      cells.push([hostname, slot.cell]);
    }
    return { hosts: new HostTable(cells) };
  }

  /**
   * Notes which pages make up each host of a table; returns the hosts whose pages are others now.
   */
  #updateHosts(part: TablePart): readonly HostSlot[] {
    const slots = this.#hosts.get(part.key) ?? new Map<string, HostSlot>();
    const named = new Set<string>();
    const changed: HostSlot[] = [];
    for (const { hostname, pages } of part.hosts) {
      named.add(hostname);
      const slot = slots.get(hostname) as HostSlot;
      if (slot.pages.length === pages.length && slot.pages.every((key, at) => key === pages[at])) {
        continue;
      }
      this.#setPages(slot, pages);
      changed.push(slot);
    }
    for (const [hostname, slot] of slots) {
      if (named.has(hostname)) continue;
      this.#setPages(slot, []);
      slots.delete(hostname);
    }
    return changed;
  }

  #dropHosts(table: PartKey): void {
    for (const slot of this.#hosts.get(table)?.values() ?? []) this.#setPages(slot, []);
    this.#hosts.delete(table);
  }

  #setPages(slot: HostSlot, pages: readonly PartKey[]): void {
    for (const key of slot.pages) {
      const users = this.#hostsOfPage.get(key);
      users?.delete(slot);
      if (users?.size === 0) this.#hostsOfPage.delete(key);
    }
    slot.pages = pages;
    for (const key of pages) {
      const users = this.#hostsOfPage.get(key);
      if (users === undefined) this.#hostsOfPage.set(key, new Set([slot]));
      else users.add(slot);
    }
  }

  #linkSplit(part: SplitPart): LinkedSplit {
    const arms = part.arms.map((arm): LinkedArm => {
      const wanted = arm.provider?.credential;
      const credential = wanted === undefined ? null : this.#credential(wanted);
      return {
        arm,
        gate: this.#gateOf(arm, part.key),
        pool: this.#cell(arm.pool),
        credential,
        credentialMissing: wanted !== undefined && credential === null,
      };
    });
    return { part, arms, ends: intervalEnds(part.arms.map((arm) => arm.weightBp)) };
  }

  /** A canary that could not be stopped gets nothing: its share goes to the stable arm. */
  #gateOf(arm: Arm, split: PartKey): number {
    const gate = this.#options.gates.gateOf(arm.id);
    if (gate !== -1) return gate;
    const message = `No gate is free for ${arm.id}, so a canary gets no requests`;
    this.#failures.set(split, { key: split, message });
    return arm.role === "canary" ? ALWAYS_CLOSED : ALWAYS_OPEN;
  }

  #credential(wanted: { header: string; prefix: string; ref: string }): LinkedCredential | null {
    const value = this.#credentials.get(wanted.ref);
    if (value === undefined || !isSafeHeader(wanted.header, value)) return null;
    return { name: wanted.header, value: wanted.prefix + value };
  }

  /** A key set that is not there lets nobody in. */
  #clientOf(keys: PartKey, digest: string): string | undefined {
    const set = this.#slots.get(keys)?.cell.value as LinkedKeySet | undefined;
    for (const page of set?.pages ?? []) {
      const client = page.value?.clients.get(digest);
      if (client !== undefined) return client;
    }
    return undefined;
  }

  #replace(slot: Slot, envelope: PartEnvelope | null): void {
    if (envelope !== null)
      for (const key of referencesOf(envelope.part)) this.#slot(key).users += 1;
    if (slot.part !== undefined) for (const key of referencesOf(slot.part)) this.#release(key);
    if (slot.part?.type === "socket") this.#sockets.delete(slot.part.key);
    if (envelope?.part.type === "socket") {
      this.#sockets.set(envelope.part.key, slot.cell as Cell<LinkedSocket>);
    }
    slot.part = envelope?.part;
    slot.hash = envelope?.hash ?? "";
  }

  /** A key that nobody names any more and that holds nothing is forgotten. */
  #release(key: PartKey): void {
    const slot = this.#slot(key);
    slot.users -= 1;
    if (slot.users === 0 && slot.part === undefined && slot.cell.value === undefined) {
      this.#slots.delete(key);
    }
  }

  #cell<T>(key: PartKey): Cell<T> {
    return this.#slot(key).cell as Cell<T>;
  }

  #slot(key: PartKey): Slot {
    let slot = this.#slots.get(key);
    if (slot === undefined) {
      slot = { cell: { value: undefined }, part: undefined, hash: "", users: 0 };
      this.#slots.set(key, slot);
    }
    return slot;
  }
}
