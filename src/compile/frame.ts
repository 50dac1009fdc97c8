/**
 * What routes are compiled within: Gateways, grants, policies and credentials. It seldom changes,
 * and is kept from one compilation to the next while it does not.
 */
import type { BackendTrafficPolicy } from "../resource/backend-traffic-policy.ts";
import { keyText } from "../resource/resource.ts";
import type { SecurityPolicy } from "../resource/security-policy.ts";
import { readBackendTls } from "./backend-tls.ts";
import type { BackendTlsPolicies } from "./backend-tls.ts";
import { createAttach } from "./attach.ts";
import type { Attach } from "./attach.ts";
import { clientPolicyStatuses, readClientPolicies } from "./client-policies.ts";
import type { CompileInput, StatusDraft } from "./compiled.ts";
import { readGrants } from "./grants.ts";
import type { MayRefer } from "./grants.ts";
import { readGateways } from "./listeners.ts";
import type { GatewayNode } from "./listeners.ts";
import { PartSet } from "./part-set.ts";
import { readPolicies } from "./policies.ts";
import type { Policies } from "./policies.ts";
import type { Part, Program } from "./program.ts";
import { readCredentials } from "./providers.ts";
import type { CredentialOf } from "./providers.ts";
import { readRouteFilters } from "./route-filters.ts";
import type { RouteFilters } from "./route-filters.ts";
import { listOf } from "./stored.ts";

export interface Frame {
  readonly gateways: readonly GatewayNode[];
  readonly attach: Attach;
  readonly mayRefer: MayRefer;
  readonly policies: Policies;
  readonly credentialOf: CredentialOf;
  readonly routeFilters: RouteFilters;
  /** Key sets of policies. */
  readonly frameParts: readonly Part[];
  /** Statuses of policies. */
  readonly frameStatuses: readonly StatusDraft[];
  readonly backendTls: BackendTlsPolicies;
  /** Values of private keys by `CertificatePart.privateKey.ref`: as `Compiled.credentials`. */
  readonly privateKeys: ReadonlyMap<string, string>;
  /**
   * Resources that the frame was read from, or looked for, beside those of its own kinds: a change of
   * one of them may change what a policy or a listener comes to.
   */
  readonly looked: ReadonlySet<string>;
}

/** Reads everything that routes are compiled within; `previous` lends parts that stay equal. */
export function readFrame(input: CompileInput, previous: Program | undefined): Frame {
  const parts = new PartSet(previous);
  const mayRefer = readGrants(input);
  const { credentialOf, statuses } = readCredentials(input, mayRefer);
  const looked = readTargets([
    ...listOf(input, "SecurityPolicy"),
    ...listOf(input, "BackendTrafficPolicy"),
  ]);
  const onRead = (kind: string, namespace: string, name: string): void => {
    looked.add(keyText({ kind, namespace, name }));
  };
  const deps = { input, mayRefer, onRead };
  const clientPolicies = readClientPolicies(input);
  const gateways = readGateways(deps, clientPolicies);
  const backendTls = readBackendTls(deps);
  const frameStatuses = [...statuses, ...clientPolicyStatuses(clientPolicies, gateways)];
  const policies = readPolicies({ input, parts, mayRefer, statuses: frameStatuses });
  const privateKeys = readPrivateKeys(gateways, parts);
  return {
    gateways,
    attach: createAttach(input, gateways),
    mayRefer,
    policies,
    credentialOf,
    routeFilters: readRouteFilters(input),
    frameParts: [...parts.parts.values()],
    frameStatuses,
    backendTls,
    privateKeys,
    looked,
  };
}

/** Adds the certificates that Gateways present to backends; returns all private keys in use. */
function readPrivateKeys(
  gateways: readonly GatewayNode[],
  parts: PartSet,
): ReadonlyMap<string, string> {
  const privateKeys = new Map<string, string>();
  for (const { problem, tls, clientCertificate } of gateways.flatMap((node) => node.listeners)) {
    if (clientCertificate !== undefined) parts.add(clientCertificate.part);
    const served = problem === undefined ? (tls?.keyPairs ?? []) : [];
    for (const { part, privateKey } of [...served, clientCertificate].filter(isThere)) {
      privateKeys.set(part.privateKey.ref, privateKey);
    }
  }
  return privateKeys;
}

function isThere<T>(value: T | undefined): value is T {
  return value !== undefined;
}

function readTargets(policies: readonly (SecurityPolicy | BackendTrafficPolicy)[]): Set<string> {
  const targets = policies.flatMap(({ metadata, spec }) =>
    spec.targetRefs.map(({ kind, name }) => ({ kind, namespace: metadata.namespace, name })),
  );
  return new Set(targets.map(keyText));
}
