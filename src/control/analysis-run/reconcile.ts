/**
 * The controller of AnalysisRuns, one for all of them: observe, plan, measure, plan again with what
 * was measured, apply. It is woken by changes of runs, by the time a plan asked for, and by itself
 * when a server has answered. What it remembers may be lost: a run then goes on from its status,
 * with windows that begin anew.
 */
import {
  type Observation,
  type RunPlan,
  type RunSeen,
  type Waits,
  planRun,
} from "../../analysis/plan-run.ts";
import { type Metric, isFinal, phaseOf, statusOf } from "../../analysis/run.ts";
import type { Clock } from "../../base/clock.ts";
import type { Logger } from "../../base/log.ts";
import type { Windows } from "../../metric/window.ts";
import type { Resource } from "../../resource/resource.ts";
import type { Store } from "../../store/store.ts";
import type { DataPlaneView } from "../data-plane.ts";
import type { Outcome, Reconciler } from "../reconciler.ts";
import { type Applied, WAIT_WRITE_MS, applyStatus } from "./apply.ts";
import { measure, watchedBy } from "./measure.ts";
import { type RunView, observeRun } from "./observe.ts";

/** Queries to servers that may be under way at once; what is due beyond them waits its turn. */
const IN_FLIGHT_MAX = 100;
/** A metric whose interval is shorter is measured this often. */
const INTERVAL_MS_MIN = 100;

export interface AnalysisRunControllerOptions {
  readonly store: Store;
  readonly clock: Clock;
  readonly windows: Windows;
  readonly dataPlane: Pick<DataPlaneView, "routesOf">;
  /** Asks the driver to run this reconciler: a server has answered. */
  readonly wake: () => void;
  readonly log?: Pick<Logger, "info" | "warn">;
}

/** What is known of a run beyond its status. */
interface Memory {
  /** Measurements that no status holds yet, oldest first. */
  observations: Observation[];
  readonly inFlight: Map<string, AbortController>;
  waits: Waits;
  /** Monotonic time at which this thread first saw the run: no window looks past it. */
  readonly firstSeenMs: number;
  writtenAtMs: number;
}

export interface AnalysisRunController extends Reconciler {
  /** Ends all queries and windows. */
  close(): void;
}

/** The reconciler of all AnalysisRuns. Nothing happens before its first activation. */
export function createAnalysisRunController(
  options: AnalysisRunControllerOptions,
): AnalysisRunController {
  return new Controller(options);
}

class Controller implements AnalysisRunController {
  readonly name = "analysis-run";
  readonly #options: AnalysisRunControllerOptions;
  /** By UID. */
  readonly #memories = new Map<string, Memory>();

  constructor(options: AnalysisRunControllerOptions) {
    this.#options = options;
  }

  async reconcile(): Promise<Outcome> {
    const { store, clock, windows, dataPlane } = this.#options;
    const runs = store.list("AnalysisRun").filter((run) => !isFinal(phaseOf(run)));
    this.#forgetAllBut(runs);
    const views = runs.map((run) => observeRun(run, store));
    const memories = runs.map((run) => this.#memoryOf(run));
    const refused = windows.watch(views.flatMap((view) => watchedBy(view, dataPlane)));
    if (refused > 0) this.#options.log?.warn({ refused }, "too many windows are watched");
    const nowMs = clock.now();
    const settled = await Promise.allSettled(
      views.map((view, index) => this.#advance(view, memories[index] as Memory, nowMs)),
    );
    // One run that fails holds up no other, and no activation ends before all of its writes have.
    const failure = settled.find(({ status }) => status === "rejected");
    if (failure?.status === "rejected") throw failure.reason;
    const wakes = settled.map((each) => (each.status === "fulfilled" ? each.value : undefined));
    const wakeAtMs = Math.min(...wakes.map((wake) => wake ?? Infinity));
    return { wakeAtMs: wakeAtMs === Infinity ? undefined : wakeAtMs };
  }

  close(): void {
    this.#forgetAllBut([]);
    this.#options.windows.close();
  }

  #forgetAllBut(runs: readonly Resource[]): void {
    const kept = new Set(runs.map((run) => run.metadata.uid));
    for (const [uid, { inFlight }] of this.#memories) {
      if (kept.has(uid)) continue;
      for (const query of inFlight.values()) query.abort();
      this.#memories.delete(uid);
    }
  }

  #memoryOf({ metadata: { uid } }: Resource): Memory {
    const known = this.#memories.get(uid);
    if (known !== undefined) return known;
    const memory: Memory = {
      observations: [],
      inFlight: new Map(),
      waits: new Map(),
      firstSeenMs: this.#options.clock.monotonic(),
      writtenAtMs: -Infinity,
    };
    this.#memories.set(uid, memory);
    return memory;
  }

  /** Brings one run forward and returns when it wants to be looked at again. */
  async #advance(view: RunView, memory: Memory, nowMs: number): Promise<number | undefined> {
    const first = planRun(seenOf(view, memory), nowMs);
    const before = memory.observations.length;
    for (const name of first.measure) this.#measure(name, view, { memory, nowMs });
    const plan =
      memory.observations.length === before ? first : planRun(seenOf(view, memory), nowMs);
    const included = [...memory.observations];
    const applied = await applyStatus(view.run, plan.status, {
      store: this.#options.store,
      mayDefer: nowMs - memory.writtenAtMs < WAIT_WRITE_MS,
    });
    this.#settle(view, { memory, included, applied, plan, nowMs });
    return nextWake(plan, { memory, applied, nowMs });
  }

  #measure(
    name: string,
    view: RunView,
    { memory, nowMs }: { readonly memory: Memory; readonly nowMs: number },
  ): void {
    const { clock } = this.#options;
    const metric = view.metrics.ok
      ? view.metrics.value.find((one) => one.name === name)
      : undefined;
    if (metric === undefined || this.#inFlightCount() >= IN_FLIGHT_MAX) return;
    const query = new AbortController();
    const ageMs = clock.monotonic() - memory.firstSeenMs;
    const taken = measure(metric, view, { ...this.#options, ageMs, signal: query.signal });
    if (!(taken instanceof Promise)) {
      memory.observations.push({
        metric: name,
        startedAtMs: nowMs,
        finishedAtMs: nowMs,
        outcome: taken,
      });
      return;
    }
    memory.inFlight.set(name, query);
    void this.#receive(taken, metric, { view, memory, query, startedAtMs: nowMs });
  }

  async #receive(
    taken: Promise<Observation["outcome"]>,
    metric: Metric,
    asked: { view: RunView; memory: Memory; query: AbortController; startedAtMs: number },
  ): Promise<void> {
    const { view, memory, query, startedAtMs } = asked;
    const { clock, wake } = this.#options;
    const outcome = await taken;
    memory.inFlight.delete(metric.name);
    if (query.signal.aborted) return;
    const times = { startedAtMs, finishedAtMs: clock.now() };
    memory.observations.push({
      metric: metric.name,
      ...times,
      outcome,
      ...metadataOf(metric, view),
    });
    wake();
  }

  #inFlightCount(): number {
    let count = 0;
    for (const { inFlight } of this.#memories.values()) count += inFlight.size;
    return count;
  }

  #settle(
    view: RunView,
    {
      memory,
      included,
      applied,
      plan,
      nowMs,
    }: {
      memory: Memory;
      included: readonly Observation[];
      applied: Applied;
      plan: RunPlan;
      nowMs: number;
    },
  ): void {
    if (applied === "conflict") return;
    memory.observations = memory.observations.filter((one) => !included.includes(one));
    memory.waits = plan.waits;
    if (applied !== "written") return;
    memory.writtenAtMs = nowMs;
    if (!isFinal(plan.status.phase)) return;
    const { namespace, name } = view.run.metadata;
    const { phase, message } = plan.status;
    this.#options.log?.info({ namespace, name, phase, reason: message }, "analysis run finished");
  }
}

function seenOf(view: RunView, memory: Memory): RunSeen {
  return {
    spec: view.spec,
    status: statusOf(view.run),
    metrics: view.metrics,
    secrets: view.secrets,
    observations: memory.observations,
    inFlight: new Set(memory.inFlight.keys()),
    waits: memory.waits,
  };
}

/** The query as it was asked, unless a secret is in it (Argo: GetMetadata). */
function metadataOf(
  { provider }: Metric,
  { secrets }: RunView,
): { readonly metadata?: Readonly<Record<string, string>> } {
  const prometheus = provider?.["prometheus"] as { readonly query?: string } | undefined;
  const query = prometheus?.query ?? "";
  if (query === "" || secrets.some((secret) => query.includes(secret))) return {};
  return { metadata: { ResolvedPrometheusQuery: query.slice(0, 2048) } };
}

function nextWake(
  plan: RunPlan,
  { memory, applied, nowMs }: { memory: Memory; applied: Applied; nowMs: number },
): number | undefined {
  if (applied === "conflict") return nowMs;
  const wakes = [plan.wakeAtMs ?? Infinity];
  if (applied === "deferred") wakes.push(memory.writtenAtMs + WAIT_WRITE_MS);
  // What is due and yet was not measured: an interval of nothing, or too many queries under way.
  if (plan.measure.some((name) => !memory.inFlight.has(name))) wakes.push(nowMs + INTERVAL_MS_MIN);
  const wakeAtMs = Math.min(...wakes);
  return wakeAtMs === Infinity ? undefined : wakeAtMs;
}
