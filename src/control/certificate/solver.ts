/** Which solver of an issuer proves a name, and which Gateways answer. */
import type { Certificate } from "../../resource/certificate.ts";
import type { Solver } from "../../resource/issuer.ts";
import { GATEWAY_GROUP, type ParentReference } from "../../resource/reference.ts";
import type { Resource } from "../../resource/resource.ts";

/**
 * The solver for `dnsName`: of those whose selector fits, the one that names it, else the one with
 * the longest zone, else the one with most labels, else the first (cert-manager's order).
 */
export function solverFor(
  solvers: readonly Solver[],
  dnsName: string,
  labels: Readonly<Record<string, string>>,
): Solver | undefined {
  let best: { readonly solver: Solver; readonly rank: readonly number[] } | undefined;
  for (const solver of solvers) {
    const rank = rankOf(solver, dnsName, labels);
    if (rank === undefined) continue;
    if (best === undefined || isHigher(rank, best.rank)) best = { solver, rank };
  }
  return best?.solver;
}

function rankOf(
  { selector }: Solver,
  dnsName: string,
  labels: Readonly<Record<string, string>>,
): readonly number[] | undefined {
  const { dnsNames = [], dnsZones = [], matchLabels = {} } = selector ?? {};
  const wanted = Object.entries(matchLabels);
  if (!wanted.every(([key, value]) => labels[key] === value)) return undefined;
  const named = dnsNames.includes(dnsName);
  const zones = dnsZones.filter((zone) => dnsName === zone || dnsName.endsWith(`.${zone}`));
  if (dnsNames.length + dnsZones.length > 0 && !named && zones.length === 0) return undefined;
  return [named ? 1 : 0, Math.max(0, ...zones.map((zone) => zone.length)), wanted.length];
}

function isHigher(a: readonly number[], b: readonly number[]): boolean {
  const first = a.findIndex((value, index) => value !== b[index]);
  return first !== -1 && (a[first] as number) > (b[first] as number);
}

/** The Gateway that asked for a Certificate, by its annotation. */
export function askingGateway({ metadata }: Certificate): string | undefined {
  return metadata.ownerReferences?.find(({ kind }) => kind === "Gateway")?.name;
}

/** Gateways that answer: those of the solver, the one that asked, or all of the namespace. */
export function answeringGateways(
  solver: Solver,
  certificate: Certificate,
  gateways: readonly Resource[],
): readonly ParentReference[] {
  const named = solver.http01.gatewayHTTPRoute?.parentRefs ?? [];
  if (named.length > 0) return named;
  const asking = askingGateway(certificate);
  const { namespace } = certificate.metadata;
  const names =
    asking === undefined
      ? gateways
          .filter((gateway) => gateway.metadata.namespace === namespace)
          .map((gateway) => gateway.metadata.name)
      : [asking];
  return names.map((name) => ({ group: GATEWAY_GROUP, kind: "Gateway", name }));
}
