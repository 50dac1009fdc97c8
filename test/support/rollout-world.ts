/**
 * A world for the rollout controller on a virtual clock: a real store in memory, the real admission
 * rule and driver, and two stand-ins at the rim: a data plane that acknowledges what is wanted after
 * a delay, and traffic that an analysis measures once a second. It can be stopped and started again
 * on the same store, as a process that was killed.
 */
import { rolloutRule } from "../../src/admission/rollout-rule.ts";
import { createWriter, type Writer } from "../../src/admission/writer.ts";
import { statusOf as runStatusOf, specOf as runSpecOf, isFinal } from "../../src/analysis/run.ts";
import { isJsonObject, jsonEqual, type JsonObject, type JsonValue } from "../../src/base/json.ts";
import type { SplitPart } from "../../src/compile/program.ts";
import type { DataPlaneView } from "../../src/control/data-plane.ts";
import { createDriver, type Driver } from "../../src/control/driver.ts";
import { createEventExpiry } from "../../src/control/event.ts";
import type { Reconciler } from "../../src/control/reconciler.ts";
import { createRolloutController } from "../../src/control/rollout/reconcile.ts";
import type { Resource, ResourceDraft } from "../../src/resource/resource.ts";
import {
  armId,
  hashOf,
  numberOf,
  revisionsOf,
  rolloutOf,
  versionOf,
} from "../../src/rollout/revision.ts";
import { statusOf } from "../../src/rollout/status.ts";
import { desiredSplit } from "../../src/rollout/weight.ts";
import { openSqliteStore, type SqliteStore } from "../../src/store/sqlite.ts";
import type { Change } from "../../src/store/store.ts";
import { settle, START_MS, VirtualClock } from "./clock.ts";

export const NAMESPACE = "shop";
export const WORKLOAD = "checkout";
export const ROLLOUT = "checkout";
const SPLIT_KEY = `split/Backend/${NAMESPACE}/${WORKLOAD}`;
const MEASURE_MS = 1000;

/** What the canary's requests are like; "none": there are none. */
export type Traffic = "good" | "bad" | "unclear" | "broken" | "none";

/** What an analysis of one's own is made of, in place of the stand-in. */
export interface AnalysisParts {
  readonly store: SqliteStore;
  readonly clock: VirtualClock;
  readonly dataPlane: DataPlaneView;
  readonly wake: () => void;
}

export interface WorldOptions {
  readonly pagesMax?: number;
  readonly analysis?: (parts: AnalysisParts) => Reconciler;
}

export class RolloutWorld {
  readonly clock = new VirtualClock();
  readonly store: SqliteStore;
  readonly writer: Writer;
  readonly gates = new Map<string, boolean>();
  readonly problems: string[] = [];
  traffic: Traffic = "good";
  ackDelayMs = 20;
  #routed = true;
  #driver: Driver | undefined;
  #acknowledged: SplitPart | undefined;
  #pendingAck: (() => void) | undefined;
  #listeners = new Set<() => void>();
  #stops: (() => void)[] = [];
  #epoch = 0;

  readonly #analysis: WorldOptions["analysis"];

  constructor(options: WorldOptions = {}) {
    const { analysis, ...store } = options;
    this.#analysis = analysis;
    this.store = openSqliteStore({ path: ":memory:", clock: this.clock, ...store });
    this.writer = createWriter({ store: this.store, clock: this.clock, rules: [rolloutRule] });
  }

  get elapsedMs(): number {
    return this.clock.now() - START_MS;
  }

  get acknowledged(): SplitPart | undefined {
    return this.#acknowledged;
  }

  get driver(): Driver {
    if (this.#driver === undefined) throw new Error("The world is stopped");
    return this.#driver;
  }

  /** Adds or removes the route to the workload, which the data plane acknowledges. */
  set routed(routed: boolean) {
    this.#routed = routed;
    for (const listener of this.#listeners) listener();
  }

  /** A new process on the store as it is. */
  start(): void {
    const epoch = ++this.#epoch;
    const dataPlane = this.#dataPlane();
    const { store, clock } = this;
    const wake = (): void => this.#driver?.signal();
    const analysis = this.#analysis?.({ store, clock, dataPlane, wake });
    const driver = createDriver({
      reconcilers: [
        createRolloutController({ store, dataPlane, clock }),
        createEventExpiry({ store, clock }),
        ...(analysis === undefined ? [] : [analysis]),
      ],
      clock,
      random: () => 0.5,
      onError: (_name, error) => this.problems.push(String(error)),
    });
    this.#driver = driver;
    this.#stops = [
      store.watch(() => {
        this.#deliver();
        driver.signal();
      }),
      dataPlane.onAcknowledged(() => driver.signal()),
    ];
    this.#deliver();
    driver.start();
    if (analysis === undefined) this.#measureLater(epoch);
  }

  /** The process is gone between two instructions; workers keep what they serve until the next. */
  async kill(): Promise<void> {
    this.#epoch++;
    for (const stop of this.#stops) stop();
    this.#pendingAck?.();
    this.#acknowledged = undefined;
    const driver = this.#driver;
    this.#driver = undefined;
    await driver?.stop();
  }

  async advance(durationMs: number): Promise<void> {
    await this.clock.advanceSettled(durationMs, () => this.quiet());
  }

  /** Resolves once nothing is left to do at this instant. */
  async quiet(): Promise<void> {
    for (let idle = 0, turns = 0; idle < 3; turns++) {
      if (turns > 2000) throw new Error("The world does not come to rest");
      await settle(1);
      const busy = this.#driver?.states().some(({ running }) => running) === true;
      idle = busy ? 0 : idle + 1;
    }
  }

  /** Creates or replaces through admission. Rejects with AdmissionError. */
  async apply(draft: ResourceDraft): Promise<readonly string[]> {
    const { namespace, name } = draft.metadata;
    const known = this.store.get(draft.kind, namespace, name) !== undefined;
    const change: Change = { op: known ? "update" : "create", resource: draft };
    const { warnings } = await this.writer.write([change]);
    await this.quiet();
    return warnings;
  }

  async edit(spec: JsonObject): Promise<void> {
    await this.apply(backendDraft(spec));
  }

  /** A merge patch, as kubectl and Argo's tools send it. */
  async patchRollout(patch: JsonObject, name = ROLLOUT): Promise<void> {
    const rollout = this.rollout(name);
    if (patch["status"] !== undefined) {
      const status = merged(rollout.status ?? {}, patch["status"]) as JsonObject;
      await this.writer.write([{ op: "status", resource: { ...rollout, status } }]);
      await this.quiet();
    }
    const { status: _status, ...rest } = patch;
    if (Object.keys(rest).length > 0) {
      await this.apply(merged(this.rollout(name) as never, rest) as never);
    }
  }

  async remove(kind: string, name: string): Promise<void> {
    await this.writer.write([{ op: "delete", key: { kind, namespace: NAMESPACE, name } }]);
    await this.quiet();
  }

  rollout(name = ROLLOUT): Resource {
    const rollout = this.store.get("Rollout", NAMESPACE, name);
    if (rollout === undefined) throw new Error(`No Rollout ${name}`);
    return rollout;
  }

  runs(): readonly Resource[] {
    return this.store.list("AnalysisRun", NAMESPACE);
  }

  /** One line on where the rollout stands, for golden timelines and failure messages. */
  describe(name = ROLLOUT): string {
    const rollout = this.rollout(name);
    const status = statusOf(rollout);
    const revisions = revisionsOf(rollout, this.store.list("ControllerRevision", NAMESPACE));
    const label = (hash: string | undefined): string => {
      const revision = revisions.find((each) => hashOf(each) === hash);
      return revision === undefined ? "-" : `v${versionOf(revision)}#${numberOf(revision)}`;
    };
    const weights = status.canary?.weights;
    const verified = weights?.verified === true ? "" : "?";
    const split = desiredSplit(rollout, revisions);
    const gate = split.canary === undefined ? "" : ` gate=${this.#gateText(split.canary)}`;
    const parts = [
      `${status.phase}`,
      `stable=${label(status.stableRS)}`,
      `current=${label(status.currentPodHash)}`,
      `step=${status.currentStepIndex ?? "-"}`,
      `weight=${weights?.canary.weight}${verified}${gate}`,
    ];
    return `${parts.join(" ")}${status.message === undefined ? "" : ` | ${status.message}`}`;
  }

  #gateText(revision: Resource): string {
    const open = this.gates.get(armId("Backend", NAMESPACE, WORKLOAD, hashOf(revision)));
    return open === undefined ? "unset" : open ? "open" : "closed";
  }

  #dataPlane(): DataPlaneView {
    return {
      serves: () => true,
      acknowledgedSplit: (key) =>
        key === SPLIT_KEY && this.#routed ? this.#acknowledged : undefined,
      routesOf: (key) => (this.#routed && key === SPLIT_KEY ? [`${NAMESPACE}/web`] : []),
      setGate: (arm, open) => void this.gates.set(arm, open),
      onAcknowledged: (listener) => {
        this.#listeners.add(listener);
        return () => void this.#listeners.delete(listener);
      },
    };
  }

  /** Compiles, as the compiler does, and has it acknowledged a little later. */
  #deliver(): void {
    const wanted = this.#compile();
    if (jsonEqual(wanted, this.#acknowledged)) return;
    this.#pendingAck?.();
    this.#pendingAck = this.clock.after(this.ackDelayMs, () => {
      this.#acknowledged = wanted;
      for (const listener of this.#listeners) listener();
    });
  }

  #compile(): SplitPart | undefined {
    const key = { kind: "Backend", namespace: NAMESPACE, name: WORKLOAD };
    const rollout = rolloutOf(key, this.store.list("Rollout", NAMESPACE));
    if (rollout === undefined || !this.store.get("Backend", NAMESPACE, WORKLOAD)) return undefined;
    const list = this.store.list("ControllerRevision", NAMESPACE);
    const { stable, canary, canaryWeight } = desiredSplit(rollout, revisionsOf(rollout, list));
    if (stable === undefined) return undefined;
    const arm = (revision: Resource, role: "canary" | "stable", weight: number) => {
      const id = armId("Backend", NAMESPACE, WORKLOAD, hashOf(revision));
      const weightBp = weight * 100;
      return { id, version: versionOf(revision), role, weightBp, pool: `pool/${id}` };
    };
    const arms = [
      ...(canary === undefined ? [] : [arm(canary, "canary", canaryWeight)]),
      arm(stable, "stable", 100 - canaryWeight),
    ];
    return { type: "split", key: SPLIT_KEY, salt: rollout.metadata.uid, arms };
  }

  #measureLater(epoch: number): void {
    this.clock.after(MEASURE_MS, () => {
      if (epoch !== this.#epoch) return;
      this.#measure()
        .catch((error: unknown) => {
          if (epoch === this.#epoch) this.problems.push(String(error));
        })
        .finally(() => this.#measureLater(epoch));
    });
  }

  /** The analysis: one measurement of every metric of every run that has not ended. */
  async #measure(): Promise<void> {
    const changes = this.runs().flatMap((run): Change[] => {
      const status = this.#measured(run);
      if (status === undefined) return [];
      return [{ op: "status", resource: { ...run, status }, evenUnsaved: true }];
    });
    if (changes.length > 0) await this.store.commit(changes);
  }

  #measured(run: Resource): JsonObject | undefined {
    const status = runStatusOf(run);
    if (isFinal(status.phase)) return undefined;
    if (runSpecOf(run).terminate === true) return { ...run.status, phase: "Successful" };
    const at = new Date(this.clock.now()).toISOString();
    const phase = PHASES[this.traffic];
    const metrics = runSpecOf(run).metrics;
    const results = metrics.map(({ name, count }) => {
      const before = status.metricResults?.find((result) => result.name === name);
      const measurements = before?.measurements ?? [];
      if (phase === undefined) {
        return { name, phase: "Running", measurements, message: "waiting for 20 samples, has 0" };
      }
      const all = [...measurements, { phase, startedAt: at, finishedAt: at }].slice(-10);
      const ended = phase === "Successful" && count !== undefined && all.length >= Number(count);
      return {
        name,
        phase: phase === "Successful" && !ended ? "Running" : phase,
        measurements: all,
      };
    });
    const bad = phase !== undefined && phase !== "Successful";
    const done = results.every((result) => isFinal(result.phase as never));
    const overall = bad ? phase : done ? "Successful" : "Running";
    const message = bad ? `Metric "${metrics[0]?.name}" assessed ${phase}` : undefined;
    return { phase: overall, ...(message && { message }), metricResults: results } as never;
  }
}

const PHASES = {
  good: "Successful",
  bad: "Failed",
  broken: "Error",
  unclear: "Inconclusive",
  none: undefined,
} as const;

export function backendDraft(spec: JsonObject): ResourceDraft {
  return {
    apiVersion: "sluice.dev/v1alpha1",
    kind: "Backend",
    metadata: { name: WORKLOAD, namespace: NAMESPACE },
    spec: { endpoints: [{ ip: { address: "127.0.0.1", port: 9001 } }], ...spec },
  };
}

export function rolloutDraft(spec: JsonObject, name = ROLLOUT): ResourceDraft {
  return {
    apiVersion: "argoproj.io/v1alpha1",
    kind: "Rollout",
    metadata: { name, namespace: NAMESPACE },
    spec: {
      workloadRef: { apiVersion: "sluice.dev/v1alpha1", kind: "Backend", name: WORKLOAD },
      ...spec,
    },
  };
}

export function templateDraft(count?: number): ResourceDraft {
  return {
    apiVersion: "argoproj.io/v1alpha1",
    kind: "AnalysisTemplate",
    metadata: { name: "healthy", namespace: NAMESPACE },
    spec: {
      metrics: [
        {
          name: "success-rate",
          interval: "1s",
          ...(count !== undefined && { count }),
          failureCondition: "result < 0.95",
          provider: { plugin: { sluice: { metric: "success-rate", noData: "wait" } } },
        },
      ],
    },
  };
}

/** RFC 7386. */
export function merged(target: JsonValue | undefined, patch: JsonValue | undefined): JsonValue {
  if (!isJsonObject(patch)) return patch ?? null;
  const next: Record<string, JsonValue | undefined> = isJsonObject(target) ? { ...target } : {};
  for (const [field, value] of Object.entries(patch)) {
    if (value === null) delete next[field];
    else next[field] = merged(next[field], value);
  }
  return next;
}
