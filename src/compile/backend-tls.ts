/**
 * BackendTLSPolicies: which backends are connected to by TLS, and whom the gateway takes for them.
 * The closest policy holds — a port's before its Service's — and of two for one target the older. A
 * policy that names an authority which cannot be had is a problem of its backends: requests to them
 * fail, and never go in plain text (Gateway API `BackendTLSPolicyValidation`).
 */
import type { BackendTLSPolicy, BackendTlsTarget } from "../resource/backend-tls-policy.ts";
import type { ConditionDraft, FieldPath } from "../resource/resource.ts";
import { keyOf } from "../resource/resource.ts";
import { compareAge, fullName } from "./age.ts";
import { causeOf, readAuthorities } from "./certificates.ts";
import type { CertificateDeps } from "./certificates.ts";
import type {
  AncestorStatusDraft,
  BackendProblem,
  ParentReference,
  StatusDraft,
} from "./compiled.ts";
import { ACCEPTED, placeText, refused } from "./policies.ts";
import type { PoolTls } from "./program.ts";
import { isOfKind, listOf } from "./stored.ts";

export interface TlsTarget {
  readonly kind: "Service" | "Backend";
  readonly namespace: string;
  readonly name: string;
  /** Name of the Service's port, if it has one. */
  readonly portName?: string;
}

/** How a backend is connected to; undefined where no policy speaks of it. */
export type BackendTlsOf = (
  target: TlsTarget,
) => { readonly tls: PoolTls } | { readonly problem: BackendProblem } | undefined;

export interface BackendTlsPolicies {
  readonly backendTlsOf: BackendTlsOf;
  readonly policies: readonly BackendTlsNode[];
}

export interface BackendTlsNode {
  readonly policy: BackendTLSPolicy;
  readonly resolved: ConditionDraft;
  readonly targets: readonly {
    readonly target: BackendTlsTarget;
    readonly accepted: ConditionDraft;
  }[];
}

/** Reads all BackendTLSPolicies, oldest first. */
export function readBackendTls(deps: CertificateDeps): BackendTlsPolicies {
  const places = new Map<string, { readonly owner: string; readonly read: ReadPolicy }>();
  const policies: BackendTlsNode[] = [];
  for (const policy of listOf(deps.input, "BackendTLSPolicy").toSorted(compareAge)) {
    const read = readPolicy(deps, policy);
    const { namespace } = policy.metadata;
    const targets = policy.spec.targetRefs.map((target, index) => {
      const path = ["spec", "targetRefs", index];
      const place = placeText({ ...target, namespace }, target.sectionName);
      const missing = missingTarget(deps, { namespace, target, path });
      const older = places.get(place);
      if (missing !== undefined) return { target, accepted: missing };
      if (older !== undefined) {
        const what = `${target.kind} ${namespace}/${target.name}`;
        const message = `${what} already has the older BackendTLSPolicy ${older.owner}`;
        return { target, accepted: refused("Conflicted", { path: [...path, "name"], message }) };
      }
      places.set(place, { owner: fullName(policy), read });
      return { target, accepted: read.accepted };
    });
    policies.push({ policy, resolved: read.resolved, targets });
  }
  return {
    policies,
    backendTlsOf: (target) => {
      const { portName } = target;
      const ofPort = portName === undefined ? undefined : places.get(placeText(target, portName));
      return (ofPort ?? places.get(placeText(target)))?.read.result;
    },
  };
}

interface PlacedTarget {
  readonly namespace: string;
  readonly target: BackendTlsTarget;
  readonly path: FieldPath;
}

function missingTarget(
  { input, onRead }: CertificateDeps,
  { namespace, target, path }: PlacedTarget,
): ConditionDraft | undefined {
  const { kind, name, sectionName } = target;
  onRead(kind, namespace, name);
  const resource = input.get(kind, namespace, name);
  const what = `${kind} ${namespace}/${name}`;
  if (resource === undefined) {
    const missing = { kind, namespace, name };
    const cause = { path: [...path, "name"], message: `${what} does not exist`, missing };
    return refused("TargetNotFound", cause);
  }
  if (sectionName === undefined) return undefined;
  const ports = isOfKind(resource, "Service") ? (resource.spec.ports ?? []) : [];
  if (ports.some((one) => one.name === sectionName)) return undefined;
  const known = ports.flatMap((one) => one.name ?? []);
  const valid = known.length === 0 ? "" : `; valid: ${known.join(", ")}`;
  const message = `${what} has no port named ${sectionName}${valid}`;
  return refused("TargetNotFound", { path: [...path, "sectionName"], message });
}

interface ReadPolicy {
  readonly result: { readonly tls: PoolTls } | { readonly problem: BackendProblem };
  readonly accepted: ConditionDraft;
  readonly resolved: ConditionDraft;
}

const RESOLVED: ConditionDraft = {
  type: "ResolvedRefs",
  status: "True",
  reason: "ResolvedRefs",
  message: "All references are resolved",
};

function readPolicy(deps: CertificateDeps, policy: BackendTLSPolicy): ReadPolicy {
  const { namespace } = policy.metadata;
  const { hostname, caCertificateRefs = [], subjectAltNames } = policy.spec.validation;
  const from = { group: "gateway.networking.k8s.io", kind: "BackendTLSPolicy", namespace };
  const { pem, problems } = readAuthorities(deps, from, caCertificateRefs);
  const good = ACCEPTED;
  const path = ["spec", "validation", "caCertificateRefs"];
  const causes = problems.map((one) => causeOf([...path, one.index], one));
  const [first] = problems;
  const [place] = causes;
  if (first !== undefined && place !== undefined) {
    const message = causes.map((one) => one.message).join("; ");
    const { reason } = first;
    const resolved = { type: "ResolvedRefs", status: "False", reason, message, causes } as const;
    const at = { resource: keyOf(policy), path: place.path };
    const problem = { reason: "InvalidCACertificateRef" as const, message, at };
    const none = pem === "" ? refused("NoValidCACertificate", ...causes) : good;
    return { result: { problem }, accepted: none, resolved };
  }
  const names = subjectAltNames?.map(({ type, hostname: dns, uri }) =>
    type === "URI"
      ? { type: "URI" as const, value: uri ?? "" }
      : { type: "DNS" as const, value: (dns ?? "").toLowerCase() },
  );
  const tls: PoolTls = {
    serverName: hostname,
    ...(pem !== "" && { caCertificates: pem }),
    ...(names !== undefined && names.length > 0 && { subjectAltNames: names }),
  };
  return { result: { tls }, accepted: good, resolved: RESOLVED };
}

/** The Gateways through which a backend is reached, as ancestors of its policy. */
export type AncestorsOf = (target: TlsTarget) => readonly ParentReference[];

/** Statuses by Gateway, as Gateway API has them; by target where no Gateway leads to it. */
export function backendTlsStatuses(
  policies: readonly BackendTlsNode[],
  ancestorsOf: AncestorsOf,
): readonly StatusDraft[] {
  return policies.map(({ policy, targets, resolved }) => {
    const { namespace, generation } = policy.metadata;
    const ancestors = new Map<string, AncestorStatusDraft>();
    for (const { target, accepted: condition } of targets) {
      const { group, kind, name } = target;
      const gateways = ancestorsOf({ kind, namespace, name });
      const own: ParentReference = { group, kind, namespace, name };
      for (const ancestorRef of gateways.length === 0 ? [own] : gateways) {
        const key = JSON.stringify(ancestorRef);
        // Several targets behind one Gateway: what is wrong with one of them is what must be read.
        if (ancestors.get(key)?.conditions[0]?.status === "False") continue;
        ancestors.set(key, { ancestorRef, conditions: [condition, resolved] });
      }
    }
    return { key: keyOf(policy), generation, ancestors: [...ancestors.values()].slice(0, 16) };
  });
}
