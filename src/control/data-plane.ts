/** What controllers may see and do of the data plane: acknowledged splits up, gates down. */
import type { PartKey, SplitPart } from "../compile/program.ts";

export interface DataPlaneView {
  /**
   * The split that every live worker serves by now: what a Rollout's `status.canary.weights` reports
   * as verified. Undefined while no worker has acknowledged one.
   */
  acknowledgedSplit(key: PartKey): SplitPart | undefined;
  /** Whether every live worker serves a part of this key by now. */
  serves(key: PartKey): boolean;
  /** Routes ("NAMESPACE/NAME") whose rules send requests through this split. */
  routesOf(key: PartKey): readonly string[];
  /** Opens or closes an arm at once on every worker, ahead of any new generation. */
  setGate(armId: string, open: boolean): void;
  /** Calls `listener` after every acknowledged generation. */
  onAcknowledged(listener: () => void): () => void;
}
