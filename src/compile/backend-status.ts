/**
 * The status of a Backend: whether it can be used as it is written (Envoy Gateway's `Accepted`).
 */
import type { ConditionDraft, Resource } from "../resource/resource.ts";
import { keyOf } from "../resource/resource.ts";
import type { BackendProblem, SplitTrace, StatusDraft } from "./compiled.ts";
import type { PartKey } from "./program.ts";
import { splitKey } from "./splits.ts";

/** The draft for one Backend; `splits` are those of this compilation. */
export function backendStatus(
  backend: Resource,
  splits: ReadonlyMap<PartKey, SplitTrace>,
): StatusDraft {
  const { namespace, name, generation } = backend.metadata;
  const found = splits.get(splitKey({ kind: "Backend", namespace, name }))?.problem;
  // That a Rollout has not recorded it yet is said on the routes that would use it.
  const problem = found?.reason === "BackendNotFound" ? undefined : found;
  const accepted: ConditionDraft =
    problem === undefined
      ? { type: "Accepted", status: "True", reason: "Accepted", message: "Backend is accepted" }
      : refused(problem);
  return { key: keyOf(backend), generation, conditions: [accepted] };
}

function refused({ reason, message, missing, at }: BackendProblem): ConditionDraft {
  const cause = {
    ...(at ?? { path: ["spec"] }),
    message,
    ...(missing !== undefined && { missing }),
  };
  return { type: "Accepted", status: "False", reason, message, causes: [cause] };
}
