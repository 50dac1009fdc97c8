/**
 * Which revisions of a resource get traffic, and how much: one pure function that the compiler and
 * the rollout controller share, so that what is compiled and what is waited for cannot differ.
 */
import type { Resource } from "../resource/resource.ts";

export interface DesiredSplit {
  /** The revision that is proven; undefined only while none has been recorded. */
  readonly stable: Resource | undefined;
  /** The revision on trial, while there is one. */
  readonly canary: Resource | undefined;
  /** Percent of requests for the canary, 0 to 100. */
  readonly canaryWeight: number;
}

/** `revisions` are the ControllerRevisions that the Rollout owns. */
export function desiredSplit(rollout: Resource, revisions: readonly Resource[]): DesiredSplit {
  void rollout;
  return { stable: revisions[0], canary: undefined, canaryWeight: 0 };
}
