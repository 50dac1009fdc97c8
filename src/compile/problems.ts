/**
 * Errors between documents, as a list that a person can read: for `sluice check` and for the
 * `Warning` headers of the API. It is drawn from the statuses, so that what is listed and what is
 * shown on a resource cannot differ.
 */
import type { Cause, ConditionDraft, FieldPath, ResourceKey } from "../resource/resource.ts";
import type { Compiled, ParentReference, StatusDraft } from "./compiled.ts";

export interface Problem {
  readonly resource: ResourceKey;
  /** Where in the resource: "listener http", "parent edge"; empty for the resource itself. */
  readonly place: string;
  readonly type: string;
  readonly reason: string;
  readonly message: string;
  /** The fields that are wrong, at least one. */
  readonly causes: readonly Cause[];
}

/** Every condition that says that something is wrong, in the order of the resources. */
export function problemsOf(compiled: Compiled): readonly Problem[] {
  return compiled.statuses.flatMap(problemsOfStatus);
}

/** What is wrong with one resource. */
export function problemsOfStatus(draft: StatusDraft): readonly Problem[] {
  const problems: Problem[] = [];
  const look = (place: string, path: FieldPath, conditions: readonly ConditionDraft[]): void => {
    // What is only waited for is nothing wrong, nor is what follows from it.
    const pending = conditions.filter(({ reason }) => reason === "Pending");
    const seen = new Set(pending.map(({ message }) => message));
    for (const condition of conditions) {
      const { type, reason, message, causes = [{ path, message }] } = condition;
      // A conflict makes a listener neither accepted nor programmed: once is enough.
      if (!isProblem(condition) || seen.has(message)) continue;
      seen.add(message);
      problems.push({ resource: draft.key, place, type, reason, message, causes });
    }
  };
  for (const [index, listener] of (draft.listeners ?? []).entries()) {
    look(`listener ${listener.name}`, ["spec", "listeners", index], listener.conditions);
  }
  // A Gateway's own conditions only sum up those of its listeners, if there is something in them.
  if (draft.listeners === undefined || problems.length === 0) {
    look("", ["spec"], draft.conditions ?? []);
  }
  for (const [index, { parentRef, conditions }] of (draft.parents ?? []).entries()) {
    // References are those of the route, the same at each of its parents.
    const own = conditions.filter(({ type }) => index === 0 || type !== "ResolvedRefs");
    look(`parent ${referenceText(parentRef)}`, ["spec", "parentRefs"], own);
  }
  for (const ancestor of draft.ancestors ?? []) {
    const place = `target ${referenceText(ancestor.ancestorRef)}`;
    look(place, ["spec", "targetRefs"], ancestor.conditions);
  }
  return problems;
}

/** One line: "HTTPRoute shop/checkout (parent edge): ResolvedRefs=BackendNotFound: …". */
export function formatProblem(problem: Problem): string {
  const { kind, namespace, name } = problem.resource;
  const place = problem.place === "" ? "" : ` (${problem.place})`;
  const { type, reason, message } = problem;
  const whole = namespace === "" ? name : `${namespace}/${name}`;
  return `${kind} ${whole}${place}: ${type}: ${reason}: ${message}`;
}

function isProblem(condition: ConditionDraft): boolean {
  return condition.status === (condition.type === "Conflicted" ? "True" : "False");
}

function referenceText(reference: ParentReference): string {
  const section = reference.sectionName === undefined ? "" : `/${reference.sectionName}`;
  return `${reference.name}${section}`;
}
