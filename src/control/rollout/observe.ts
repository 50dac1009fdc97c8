/**
 * Reads the world for the plan of one Rollout: store and data plane, nothing else, and writes
 * nothing. What it remembers between two looks is time alone.
 */
import { newAnalysisRun } from "../../analysis/new-run.ts";
import {
  isFinal,
  messageOf,
  phaseOf,
  specOf as runSpecOf,
  unmeasuredSince,
  waitingMessage,
} from "../../analysis/run.ts";
import type { Clock } from "../../base/clock.ts";
import type { SplitPart } from "../../compile/program.ts";
import type { Resource, ResourceKey } from "../../resource/resource.ts";
import { isServed } from "../../rollout/context.ts";
import {
  armId,
  HASH_LABEL,
  hashOf,
  isOwnedBy,
  numberOf,
  revisionOfArm,
  revisionsOf,
  workloadKeyOf,
} from "../../rollout/revision.ts";
import type {
  AcknowledgedWeights,
  PreparedRun,
  RolloutSeen,
  RunRequest,
  RunSeen,
} from "../../rollout/seen.ts";
import { statusOf } from "../../rollout/status.ts";
import { desiredSplit, type DesiredSplit } from "../../rollout/weight.ts";
import type { Store } from "../../store/store.ts";
import type { DataPlaneView } from "../data-plane.ts";
import { OwnerIndex } from "./owner-index.ts";
import { StepClock } from "./step-clock.ts";

export interface ObserverOptions {
  readonly store: Store;
  readonly dataPlane: DataPlaneView;
  readonly clock: Clock;
}

/** Remembers, for each Rollout, since when it has been looking. */
export class RolloutObserver {
  readonly #options: ObserverOptions;
  readonly #watchingSinceMs: number;
  readonly #clocks = new Map<string, StepClock>();
  readonly #index: OwnerIndex;

  constructor(options: ObserverOptions) {
    this.#options = options;
    this.#index = new OwnerIndex(options.store);
    this.#watchingSinceMs = options.clock.now();
  }

  /**
   * All that a plan of `rollout` depends on, by identity: while every one of these is as it was, and
   * the plan's time has not come, another plan would be the same.
   */
  inputsOf(rollout: Resource): readonly unknown[] {
    const { store, dataPlane } = this.#options;
    const { key, splitKey } = keysOf(rollout);
    return [
      rollout,
      key && store.get(key.kind, key.namespace, key.name),
      this.#index.governing(key),
      dataPlane.acknowledgedSplit(splitKey),
      dataPlane.routesOf(splitKey).length > 0,
      store.unsavedCount > 0,
      ...this.#index.owned("ControllerRevision", rollout),
      ...this.#index.owned("AnalysisRun", rollout),
      isOnTrial(rollout) ? store.resourceVersion : 0,
    ];
  }

  observe(rollout: Resource): RolloutSeen {
    const { store, dataPlane, clock } = this.#options;
    const { name } = rollout.metadata;
    const { key, splitKey } = keysOf(rollout);
    const governing = this.#index.governing(key)?.metadata.name;
    const seen = {
      rollout,
      workload: key && store.get(key.kind, key.namespace, key.name),
      rival: governing === name ? undefined : governing,
      revisions: revisionsOf(rollout, this.#index.owned("ControllerRevision", rollout)),
      runs: runsOf(rollout, this.#index.owned("AnalysisRun", rollout), clock.now()),
      acknowledged: weightsOf(dataPlane.acknowledgedSplit(splitKey)),
      routed: dataPlane.routesOf(splitKey).length > 0,
      watchingSinceMs: this.#watchingSinceMs,
      unsaved: store.unsavedCount > 0,
      prepareRun: (request: RunRequest): PreparedRun => this.#prepare(rollout, request),
    };
    return { ...seen, ...this.#readClock(seen) };
  }

  /** Forgets the Rollouts that are gone; `uids` are those that are there. */
  retain(uids: ReadonlySet<string>): void {
    for (const uid of this.#clocks.keys()) if (!uids.has(uid)) this.#clocks.delete(uid);
  }

  #readClock(
    seen: Pick<RolloutSeen, "rollout" | "revisions" | "acknowledged">,
  ): Pick<RolloutSeen, "servedSinceMs" | "stepServedMs"> {
    const { uid } = seen.rollout.metadata;
    const clock = this.#clocks.get(uid) ?? new StepClock(this.#options.clock);
    this.#clocks.set(uid, clock);
    const split = desiredSplit(seen.rollout, seen.revisions);
    const step = statusOf(seen.rollout).canary?.step;
    return clock.read({
      wanted: wantedText(split),
      served: isServed(seen, split),
      step: step && `${split.canary && hashOf(split.canary)}/${step.index}/${step.startedAt}`,
      savedMs: step?.servedMs ?? 0,
    });
  }

  #prepare(rollout: Resource, request: RunRequest): PreparedRun {
    const { store } = this.#options;
    const { namespace } = rollout.metadata;
    const key = workloadKeyOf(rollout);
    const { analysis, canary, stable, stepIndex } = request;
    const arm = (revision: Resource): string =>
      armId(key?.kind ?? "", namespace, key?.name ?? "", hashOf(revision));
    return newAnalysisRun({
      templates: analysis.templates,
      ...(analysis.args && { args: analysis.args }),
      ...(analysis.dryRun && { dryRun: analysis.dryRun }),
      ...(analysis.measurementRetention && { measurementRetention: analysis.measurementRetention }),
      view: store,
      owner: rollout,
      name: this.#freeName(rollout, request),
      labels: {
        [HASH_LABEL]: hashOf(canary),
        "rollout-type": request.purpose,
        ...(stepIndex !== undefined && { "step-index": String(stepIndex) }),
      },
      arms: {
        canary: arm(canary),
        stable: arm(stable),
        split: `split/${key?.kind}/${namespace}/${key?.name}`,
      },
      hashes: { stable: hashOf(stable), latest: hashOf(canary) },
    });
  }

  /** Argo's names: ROLLOUT-HASH-REVISION[-STEP], with a counter where a retry needs another. */
  #freeName(rollout: Resource, request: RunRequest): string {
    const { name, namespace } = rollout.metadata;
    const step = request.stepIndex === undefined ? "" : `-${request.stepIndex}`;
    const base = `${name}-${hashOf(request.canary)}-${numberOf(request.canary)}${step}`;
    let free = base;
    for (let attempt = 1; this.#isTaken(namespace, free); attempt++) free = `${base}.${attempt}`;
    return free;
  }

  #isTaken(namespace: string, name: string): boolean {
    return this.#options.store.get("AnalysisRun", namespace, name) !== undefined;
  }
}

/** In a trial anything may matter, such as a template that comes late: it is planned at every write. */
function isOnTrial(rollout: Resource): boolean {
  const { currentPodHash, stableRS } = statusOf(rollout);
  return currentPodHash !== stableRS;
}

function keysOf(rollout: Resource): {
  readonly key: ResourceKey | undefined;
  readonly splitKey: string;
} {
  const key = workloadKeyOf(rollout);
  return { key, splitKey: `split/${key?.kind}/${key?.namespace}/${key?.name}` };
}

function wantedText(split: DesiredSplit): string {
  const [stable, canary] = [split.stable, split.canary].map((each) => each && hashOf(each));
  return `${stable}/${canary}/${split.canaryWeight}`;
}

function weightsOf(part: SplitPart | undefined): AcknowledgedWeights | undefined {
  if (part === undefined) return undefined;
  const canary = part.arms.find(({ role }) => role === "canary");
  const stable = part.arms.find(({ role }) => role === "stable");
  return {
    stableHash: stable && revisionOfArm(stable.id),
    canaryHash: canary && revisionOfArm(canary.id),
    canaryWeight: (canary?.weightBp ?? 0) / 100,
  };
}

function runsOf(rollout: Resource, list: readonly Resource[], nowMs: number): readonly RunSeen[] {
  return list
    .filter((run) => isOwnedBy(run, rollout))
    .map((run) => ({
      name: run.metadata.name,
      phase: phaseOf(run),
      final: isFinal(phaseOf(run)),
      terminating: runSpecOf(run).terminate === true,
      message: messageOf(run),
      waiting: waitingMessage(run),
      createdAt: run.metadata.creationTimestamp,
      unmeasuredSince: (sinceMs: number) => unmeasuredSince(run, sinceMs, nowMs),
    }));
}
