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
  type Argument,
} from "../../analysis/run.ts";
import type { Clock } from "../../base/clock.ts";
import type { SplitPart } from "../../compile/program.ts";
import type { Resource } from "../../resource/resource.ts";
import { isServed } from "../../rollout/context.ts";
import {
  armId,
  HASH_LABEL,
  hashOf,
  isOwnedBy,
  numberOf,
  revisionOfArm,
  revisionsOf,
  rolloutOf,
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

  constructor(options: ObserverOptions) {
    this.#options = options;
    this.#watchingSinceMs = options.clock.now();
  }

  observe(rollout: Resource): RolloutSeen {
    const { store, dataPlane } = this.#options;
    const { namespace, name } = rollout.metadata;
    const key = workloadKeyOf(rollout);
    const governing =
      key === undefined ? undefined : rolloutOf(key, store.list("Rollout", namespace));
    const splitKey = `split/${key?.kind}/${namespace}/${key?.name}`;
    const revisions = revisionsOf(rollout, store.list("ControllerRevision", namespace));
    const acknowledged = weightsOf(dataPlane.acknowledgedSplit(splitKey));
    const seen = {
      rollout,
      workload: key === undefined ? undefined : store.get(key.kind, namespace, key.name),
      rival: governing?.metadata.name === name ? undefined : governing?.metadata.name,
      revisions,
      runs: runsOf(rollout, store.list("AnalysisRun", namespace)),
      acknowledged,
      routed: dataPlane.routesOf(splitKey).length > 0,
      watchingSinceMs: this.#watchingSinceMs,
      unsaved: store.unsavedCount > 0,
      prepareRun: (request: RunRequest): PreparedRun => this.#prepare(rollout, request),
    };
    return { ...seen, ...this.#readClock(seen) };
  }

  /** Forgets the Rollouts that are gone. */
  retain(rollouts: readonly Resource[]): void {
    const uids = new Set(rollouts.map(({ metadata }) => metadata.uid));
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
      ...(analysis.args && { args: analysis.args as unknown as readonly Argument[] }),
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

function runsOf(rollout: Resource, list: readonly Resource[]): readonly RunSeen[] {
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
      unmeasuredSince: (sinceMs: number) => unmeasuredSince(run, sinceMs),
    }));
}
