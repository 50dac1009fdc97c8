/**
 * backendRefs of routes: which split each names, and what is wrong with those that name none. A
 * reference that cannot be followed keeps its share of the requests, which are answered with 500
 * (Gateway API `HTTPRouteRule.backendRefs`).
 */
import type { Cause, ConditionDraft, FieldPath, ResourceKey } from "../resource/resource.ts";
import type { BackendProblem, BackendTarget } from "./compiled.ts";
import type { CompileContext } from "./context.ts";
import { entryAt } from "./context.ts";
import type { SplitReference } from "./memo.ts";
import type { PartKey } from "./program.ts";

export interface BackendReference {
  readonly group: string;
  readonly kind: string;
  readonly namespace?: string;
  readonly name: string;
  readonly port?: number;
  /** What goes there are copies of requests. */
  readonly mirror?: boolean;
}

/** A route whose references are followed. */
export interface Referring {
  readonly group: string;
  readonly key: ResourceKey;
  /** Kinds that it may refer to, with their groups. */
  readonly kinds: Readonly<Partial<Record<BackendTarget["kind"], string>>>;
  /** A GRPCRoute: backends that do not say otherwise are spoken to in HTTP/2. */
  readonly grpc: boolean;
  /** Splits that were found are added here. */
  readonly references: SplitReference[];
}

/** The split that a reference names, if it is served, and what is wrong with it, if anything is. */
export interface ResolvedReference {
  readonly split?: PartKey;
  readonly problem?: BackendProblem;
}

export function resolveReference(
  context: CompileContext,
  route: Referring,
  reference: BackendReference,
): ResolvedReference {
  const namespace = reference.namespace ?? route.key.namespace;
  const { kind, name } = reference;
  if (!isTargetKind(kind) || route.kinds[kind] !== reference.group) {
    const valid = Object.entries(route.kinds).map(([one, group]) => kindText(group, one));
    const what =
      reference.group === "" ? `${kind} without a group` : kindText(reference.group, kind);
    const message = `${what} is not a backend; valid: ${valid.join(", ")}`;
    return { problem: { reason: "InvalidKind", message, field: "kind" } };
  }
  const from = { group: route.group, kind: route.key.kind, namespace: route.key.namespace };
  const to = { group: reference.group, kind, namespace, name };
  if (!context.mayRefer({ from, to })) {
    const message = `no ReferenceGrant in ${namespace} allows the reference to ${kind} ${name}`;
    return { problem: { reason: "RefNotPermitted", message, field: "namespace" } };
  }
  const port = kind === "Service" && reference.port !== undefined ? { port: reference.port } : {};
  const { key, trace } = context.splits.resolve({ kind, namespace, name, ...port });
  const { served, target, websocket } = trace;
  const mirror = reference.mirror === true;
  route.references.push({ key, target, served, websocket, problem: trace.problem, mirror });
  if (route.grpc && trace.websocket) {
    const message = `${kind} ${namespace}/${name} takes WebSockets, no gRPC`;
    return { problem: { reason: "UnsupportedProtocol", message } };
  }
  const problem = trace.problem === undefined ? {} : { problem: trace.problem };
  if (!served) return problem;
  return { split: key, ...problem };
}

/** Notes that a route sends requests through the splits that it refers to. */
export function noteReferences(
  context: CompileContext,
  route: ResourceKey,
  references: readonly SplitReference[],
): void {
  const label = `${route.namespace}/${route.name}`;
  for (const { key, served, mirror } of references) {
    if (served && !mirror) entryAt(context.routesOf, key, () => new Set()).add(label);
  }
}

/** "Service", or "sluice.dev/Backend". */
function kindText(group: string, kind: string): string {
  return group === "" ? kind : `${group}/${kind}`;
}

function isTargetKind(kind: string): kind is BackendTarget["kind"] {
  return kind === "Service" || kind === "Backend" || kind === "AIServiceBackend";
}

const MESSAGES_MAX = 8;

/** What is wrong with a reference that stands in the route at `path`. */
export interface ReferenceProblem {
  readonly reason: string;
  readonly cause: Cause;
}

/** The problem of a backend, said of the reference at `path` that names it. */
export function problemAt(path: FieldPath, problem: BackendProblem): ReferenceProblem {
  const { reason, message, missing, field = "name", at } = problem;
  const place = at ?? { path: [...path, field] };
  return { reason, cause: { ...place, message, ...(missing !== undefined && { missing }) } };
}

/** The condition `ResolvedRefs`: the first problem gives the reason, some of them the message. */
export function resolvedRefs(problems: readonly ReferenceProblem[]): ConditionDraft {
  const first = problems[0];
  if (first === undefined) {
    const message = "All references are resolved";
    return { type: "ResolvedRefs", status: "True", reason: "ResolvedRefs", message };
  }
  const messages = [...new Set(problems.map(({ cause }) => cause.message))];
  const more = messages.length > MESSAGES_MAX ? [`and ${messages.length - MESSAGES_MAX} more`] : [];
  const message = [...messages.slice(0, MESSAGES_MAX), ...more].join("; ");
  const causes = problems.map(({ cause }) => cause);
  return { type: "ResolvedRefs", status: "False", reason: first.reason, message, causes };
}
