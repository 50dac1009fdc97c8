/**
 * Where a closer policy stands in the way of one of a Gateway or listener: nobody shall believe that
 * a guard holds for a route that has one of its own (Envoy Gateway's condition `Overridden`).
 */
import type { ParentReference } from "../resource/reference.ts";
import type { ConditionDraft, Resource, ResourceKey } from "../resource/resource.ts";

/** A policy that holds, with its one target. */
export interface Holding {
  readonly target: ResourceKey;
  readonly section: string | undefined;
  /** What it does not say itself is taken from the policy of the Gateway. */
  readonly merges: boolean;
}

type Find = (kind: string, namespace: string, name: string) => Resource | undefined;

/**
 * The condition of `outer`, in whose place others of `all` hold; undefined where none does. Routes are
 * looked up by `find`; policies of Gateways alone need none.
 */
export function overriddenBy(
  outer: Holding,
  all: readonly Holding[],
  find: Find = () => undefined,
): ConditionDraft | undefined {
  if (outer.target.kind !== "Gateway") return undefined;
  const closer = all
    .filter((one) => isCloser(one, outer, find))
    .map(({ target, section }) => {
      const whole = `${target.kind} ${target.namespace}/${target.name}`;
      return section === undefined ? whole : `${whole} (${section})`;
    });
  if (closer.length === 0) return undefined;
  const more = closer.length > NAMES_MAX ? ` and ${closer.length - NAMES_MAX} more` : "";
  const message = `Policies of their own hold for ${closer.slice(0, NAMES_MAX).join(", ")}${more}`;
  return { type: "Overridden", status: "True", reason: "Overridden", message };
}

const NAMES_MAX = 8;

function isCloser(one: Holding, outer: Holding, find: Find): boolean {
  const { target, section, merges } = one;
  if (merges) return false;
  if (target.kind === "Gateway") {
    const same = target.namespace === outer.target.namespace && target.name === outer.target.name;
    return same && outer.section === undefined && section !== undefined;
  }
  const route = find(target.kind, target.namespace, target.name);
  const parents = (route?.spec?.["parentRefs"] ?? []) as readonly ParentReference[];
  return parents.some(
    ({ name, namespace = target.namespace, sectionName }) =>
      name === outer.target.name &&
      namespace === outer.target.namespace &&
      (outer.section === undefined || sectionName === undefined || sectionName === outer.section),
  );
}
