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
/** Rollouts that are looked at before the event loop gets its turn. */
const SLICE_MAX = 50;

/** The reconciler of all Rollouts. Wake it on changes of the store and on acknowledgements. */
export function createRolloutController(options: RolloutControllerOptions): Reconciler {
  return new RolloutController(options);
}

/** What the last look at a Rollout came to, and what it was made of. */
interface Look {
  readonly inputs: readonly unknown[];
  /** On the monotonic clock, so that a wall clock that is set back holds up nothing. */
  readonly dueAtMs: number;
}

class RolloutController implements Reconciler {
  readonly name = "rollouts";
  readonly #options: RolloutControllerOptions;
  readonly #observer: RolloutObserver;
  readonly #looks = new Map<string, Look>();

  constructor(options: RolloutControllerOptions) {
    this.#options = options;
    this.#observer = new RolloutObserver(options);
  }

  async reconcile(signal: AbortSignal): Promise<Outcome> {
    const rollouts = this.#options.store.list("Rollout");
    this.#forgetAllBut(rollouts);
    const outcomes: PromiseSettledResult<number>[] = [];
    for (let start = 0; start < rollouts.length; start += SLICE_MAX) {
      if (start > 0) await new Promise<void>((resolve) => setImmediate(resolve));
      const slice = rollouts.slice(start, start + SLICE_MAX);
      const settled = slice.map((rollout) => this.#reconcileOne(rollout, signal));
      outcomes.push(...(await Promise.allSettled(settled)));
    }
    const failure = outcomes.find((outcome) => outcome.status === "rejected");
    if (failure !== undefined) throw failure.reason;
    const { clock } = this.#options;
    const dueAtMs = Math.min(
      Infinity,
      ...outcomes.map((outcome) => (outcome.status === "fulfilled" ? outcome.value : Infinity)),
    );
    if (dueAtMs === Infinity) return { wakeAtMs: undefined };
    return { wakeAtMs: clock.now() + Math.ceil(dueAtMs - clock.monotonic()) };
  }

  /** Brings one Rollout as far as it goes; returns when it is due again, on the monotonic clock. */
  async #reconcileOne(listed: Resource, signal: AbortSignal): Promise<number> {
    const { store, dataPlane, clock } = this.#options;
    const { namespace, name } = listed.metadata;
    let conflicts = 0;
    for (let round = 0; round < ROUNDS_MAX; round++) {
      const rollout = store.get("Rollout", namespace, name);
      if (rollout === undefined || signal.aborted) return Infinity;
      const inputs = this.#observer.inputsOf(rollout);
      const look = this.#looks.get(rollout.metadata.uid);
      if (look !== undefined && isStillTrue(look, inputs, clock)) return look.dueAtMs;
      const nowMs = clock.now();
      const startedAtMs = clock.monotonic();
      const plan = planRollout(this.#observer.observe(rollout), nowMs);
      try {
        const written = await applyPlan(rollout, plan, { store, dataPlane, nowMs });
        // What was written has changed what there is to decide.
        if (written) continue;
      } catch (error) {
        if (!isRace(error) || ++conflicts > CONFLICTS_MAX) throw error;
        continue;
      }
      const waitMs = plan.wakeAtMs === undefined ? Infinity : plan.wakeAtMs - nowMs;
      const dueAtMs = startedAtMs + waitMs;
      this.#looks.set(rollout.metadata.uid, { inputs, dueAtMs });
      return dueAtMs;
    }
    return clock.monotonic();
  }

  #forgetAllBut(rollouts: readonly Resource[]): void {
    const uids = new Set(rollouts.map(({ metadata }) => metadata.uid));
    this.#observer.retain(uids);
    for (const uid of this.#looks.keys()) if (!uids.has(uid)) this.#looks.delete(uid);
  }
}

function isStillTrue(look: Look, inputs: readonly unknown[], clock: Clock): boolean {
  // A timer may be early by less than it can tell.
  if (clock.monotonic() + 1 > look.dueAtMs || inputs.length !== look.inputs.length) return false;
  return inputs.every((input, index) => input === look.inputs[index]);
}

function isRace(error: unknown): boolean {
  return error instanceof StoreError && error.code !== "Unavailable";
}
