/**
 * The rollout controller: for every Rollout observe, plan, apply. Level-triggered: it is told that
 * something changed, never what. One Rollout that cannot be written does not hold up the others.
 */
import type { Clock } from "../../base/clock.ts";
import type { Resource } from "../../resource/resource.ts";
import { planRollout } from "../../rollout/plan.ts";
import { StoreError, type Store } from "../../store/store.ts";
import type { DataPlaneView } from "../data-plane.ts";
import type { Outcome, Reconciler } from "../reconciler.ts";
import { applyPlan } from "./apply.ts";
import { RolloutObserver } from "./observe.ts";

export interface RolloutControllerOptions {
  readonly store: Store;
  readonly dataPlane: DataPlaneView;
  readonly clock: Clock;
}

/** A commit may lose against a person's; it is planned anew at once, for an abort must not wait. */
const CONFLICTS_MAX = 5;
/** Moves of one Rollout in a row before the others get their turn. */
const ROUNDS_MAX = 20;

/** The reconciler of all Rollouts. Wake it on changes of the store and on acknowledgements. */
export function createRolloutController(options: RolloutControllerOptions): Reconciler {
  const observer = new RolloutObserver(options);
  return {
    name: "rollouts",
    reconcile: async (signal) => {
      const rollouts = options.store.list("Rollout");
      observer.retain(rollouts);
      const outcomes = await Promise.allSettled(
        rollouts.map((rollout) => reconcileOne(rollout, observer, { ...options, signal })),
      );
      const failure = outcomes.find((outcome) => outcome.status === "rejected");
      if (failure !== undefined) throw failure.reason;
      return { wakeAtMs: earliest(outcomes) };
    },
  };
}

async function reconcileOne(
  listed: Resource,
  observer: RolloutObserver,
  options: RolloutControllerOptions & { readonly signal: AbortSignal },
): Promise<number | undefined> {
  const { store, dataPlane, clock, signal } = options;
  const { namespace, name } = listed.metadata;
  let conflicts = 0;
  for (let round = 0; round < ROUNDS_MAX; round++) {
    const rollout = store.get("Rollout", namespace, name);
    if (rollout === undefined || signal.aborted) return undefined;
    const nowMs = clock.now();
    const plan = planRollout(observer.observe(rollout), nowMs);
    try {
      const written = await applyPlan(rollout, plan, { store, dataPlane, nowMs });
      // What was written has changed what there is to decide.
      if (!written) return plan.wakeAtMs;
    } catch (error) {
      if (!isRace(error) || ++conflicts > CONFLICTS_MAX) throw error;
    }
  }
  return clock.now();
}

function isRace(error: unknown): boolean {
  return error instanceof StoreError && error.code !== "Unavailable";
}

function earliest(
  outcomes: readonly PromiseSettledResult<number | undefined>[],
): Outcome["wakeAtMs"] {
  let first: number | undefined;
  for (const outcome of outcomes) {
    if (outcome.status !== "fulfilled" || outcome.value === undefined) continue;
    first = first === undefined ? outcome.value : Math.min(first, outcome.value);
  }
  return first;
}
