/**
 * Discovery: which groups, versions and kinds the API serves, as kubectl and client libraries ask
 * at their start. Pure; computed once from the kinds.
 */
import type { JsonObject } from "../base/json.ts";
import { apiVersionOf } from "../resource/kind.ts";
import type { KindDefinition } from "../resource/kind.ts";

const VERBS = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];
const REVIEW_GROUP = "authorization.k8s.io";

export interface Discovery {
  /** `GET /api`: the versions of the core group. */
  readonly core: JsonObject;
  /** `GET /apis`: all other groups. */
  readonly groups: JsonObject;
  /** `GET /apis/GROUP`, by group. */
  readonly group: ReadonlyMap<string, JsonObject>;
  /** `GET /api/v1` and `GET /apis/GROUP/VERSION`, by apiVersion. */
  readonly resources: ReadonlyMap<string, JsonObject>;
}

/** Describes `kinds`, in their order, and the access review. */
export function describeApi(kinds: readonly KindDefinition[]): Discovery {
  const versionsOf = groupVersions(kinds);
  const group = new Map<string, JsonObject>();
  const resources = new Map<string, JsonObject>();
  for (const [name, versions] of versionsOf) {
    if (name !== "") group.set(name, describeGroup(name, versions));
    for (const version of versions) {
      resources.set(apiVersionOf(name, version), describeVersion(name, version, kinds));
    }
  }
  const groups = {
    kind: "APIGroupList",
    apiVersion: "v1",
    groups: [...group.values()].map(({ kind: _kind, apiVersion: _apiVersion, ...rest }) => rest),
  };
  const core = { kind: "APIVersions", versions: ["v1"], serverAddressByClientCIDRs: [] };
  return { core, groups, group, resources };
}

/** The versions of each group, the preferred one first. */
function groupVersions(kinds: readonly KindDefinition[]): Map<string, string[]> {
  const versionsOf = new Map<string, string[]>([["", ["v1"]]]);
  const note = (group: string, version: string): void => {
    const versions = versionsOf.get(group) ?? [];
    if (!versions.includes(version)) versions.push(version);
    versionsOf.set(group, versions);
  };
  for (const { group, version } of kinds) note(group, version);
  for (const { group, olderVersions } of kinds) {
    for (const version of olderVersions) note(group, version);
  }
  note(REVIEW_GROUP, "v1");
  return versionsOf;
}

function describeGroup(name: string, versions: readonly string[]): JsonObject {
  const described = versions.map((version) => ({ groupVersion: `${name}/${version}`, version }));
  return {
    kind: "APIGroup",
    apiVersion: "v1",
    name,
    versions: described,
    preferredVersion: described[0],
  };
}

function describeVersion(
  group: string,
  version: string,
  kinds: readonly KindDefinition[],
): JsonObject {
  const served = kinds.filter(
    (kind) =>
      kind.group === group && (kind.version === version || kind.olderVersions.includes(version)),
  );
  return {
    kind: "APIResourceList",
    apiVersion: "v1",
    groupVersion: apiVersionOf(group, version),
    resources: group === REVIEW_GROUP ? [REVIEW] : served.flatMap(describeKind),
  };
}

const REVIEW: JsonObject = {
  name: "selfsubjectaccessreviews",
  singularName: "selfsubjectaccessreview",
  namespaced: false,
  kind: "SelfSubjectAccessReview",
  verbs: ["create"],
};

function describeKind(kind: KindDefinition): JsonObject[] {
  const { namespaced } = kind;
  const resource = {
    name: kind.plural,
    singularName: kind.singular,
    namespaced,
    kind: kind.kind,
    verbs: VERBS,
    ...(kind.shortNames.length > 0 && { shortNames: kind.shortNames }),
    ...(kind.categories.length > 0 && { categories: kind.categories }),
  };
  if (!kind.statusSubresource) return [resource];
  const status = {
    name: `${kind.plural}/status`,
    singularName: "",
    namespaced,
    kind: kind.kind,
    verbs: ["get", "patch", "update"],
  };
  return [resource, status];
}
