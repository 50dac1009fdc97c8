/**
 * What routes are compiled within: Gateways, grants, policies and credentials. It seldom changes,
 * and is kept from one compilation to the next while it does not.
 */
import type { BackendTrafficPolicy } from "../resource/backend-traffic-policy.ts";
import { keyText } from "../resource/resource.ts";
import type { SecurityPolicy } from "../resource/security-policy.ts";
import { createAttach } from "./attach.ts";
import type { Attach } from "./attach.ts";
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
  /** Routes that a policy names: a change of one of them may change what the policy comes to. */
  readonly routesTargeted: ReadonlySet<string>;
}

/** Reads everything that routes are compiled within; `previous` lends parts that stay equal. */
export function readFrame(input: CompileInput, previous: Program | undefined): Frame {
  const parts = new PartSet(previous);
  const mayRefer = readGrants(input);
  const { credentialOf, statuses } = readCredentials(input, mayRefer);
  const gateways = readGateways(input);
  const frameStatuses = [...statuses];
  const policies = readPolicies({ input, parts, mayRefer, statuses: frameStatuses });
  return {
    gateways,
    attach: createAttach(input, gateways),
    mayRefer,
    policies,
    credentialOf,
    routeFilters: readRouteFilters(input),
    frameParts: [...parts.parts.values()],
    frameStatuses,
    routesTargeted: readTargets([
      ...listOf(input, "SecurityPolicy"),
      ...listOf(input, "BackendTrafficPolicy"),
    ]),
  };
}

function readTargets(
  policies: readonly (SecurityPolicy | BackendTrafficPolicy)[],
): ReadonlySet<string> {
  const targets = policies.flatMap(({ metadata, spec }) =>
    spec.targetRefs.map(({ kind, name }) => ({ kind, namespace: metadata.namespace, name })),
  );
  return new Set(targets.map(keyText));
}
