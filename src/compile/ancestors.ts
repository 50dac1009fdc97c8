/**
 * The Gateways through which a backend is reached, as ancestors of the policies that speak of it
 * (Gateway API `PolicyAncestorStatus`): by the routes that name it, and by the LLM routes whose
 * providers do. Both are told by what their splits were read from.
 */
import { keyText } from "../resource/resource.ts";
import { fullName } from "./age.ts";
import type { AncestorsOf } from "./backend-tls.ts";
import type { ParentReference, SplitTrace } from "./compiled.ts";
import { type CompileContext, entryAt } from "./context.ts";

/** Looks at routes when it is first asked: most programs have no policy that wants to know. */
export function readAncestors(context: CompileContext): AncestorsOf {
  let byBackend: ReadonlyMap<string, ReadonlyMap<string, ParentReference>> | undefined;
  return ({ kind, namespace, name }) => {
    byBackend ??= gatewaysByBackend(context);
    const found = [...(byBackend.get(keyText({ kind, namespace, name })) ?? [])];
    return found.toSorted(([a], [b]) => (a < b ? -1 : 1)).map(([, ancestor]) => ancestor);
  };
}

/** Gateways by name, by the text of the backend's key. */
function gatewaysByBackend({
  routes,
  modelRoutes,
  splits,
}: CompileContext): ReadonlyMap<string, ReadonlyMap<string, ParentReference>> {
  const found = new Map<string, Map<string, ParentReference>>();
  const leading = [...routes.values()].map(({ references, matches }) => ({
    references,
    listeners: matches.keys(),
  }));
  for (const { references, listeners } of [...leading, ...modelRoutes]) {
    const gateways = new Map([...listeners].map(({ gateway }) => [fullName(gateway), gateway]));
    for (const { key } of references) {
      const trace = splits.traces.get(key);
      for (const backend of trace === undefined ? [] : backendsOf(trace)) {
        const ancestors = entryAt(found, backend, () => new Map());
        for (const [name, { metadata }] of gateways) ancestors.set(name, ancestorOf(metadata));
      }
    }
  }
  return found;
}

/** The backends that a split was read from: its own, and for an LLM provider the one it names. */
export function backendsOf({ reads }: SplitTrace): readonly string[] {
  return reads.filter((tag) => tag.startsWith("Backend/") || tag.startsWith("Service/"));
}

function ancestorOf(gateway: {
  readonly namespace: string;
  readonly name: string;
}): ParentReference {
  const { namespace, name } = gateway;
  return { group: "gateway.networking.k8s.io", kind: "Gateway", namespace, name };
}
