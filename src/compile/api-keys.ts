/**
 * `SecurityPolicy.apiKeyAuth`: who may call, as digests. Where keys cannot be read nobody is let in
 * by them: the rule still asks for a key, and a policy without any readable key refuses everybody.
 */
import { sha256 } from "../base/hash.ts";
import type { Secret } from "../resource/core.ts";
import type { ConditionDraft, ResourceKey } from "../resource/resource.ts";
import type { CredentialReference, SecurityPolicy } from "../resource/security-policy.ts";
import { fullName } from "./age.ts";
import { causeOf } from "./certificates.ts";
import type { CompileInput } from "./compiled.ts";
import type { MayRefer } from "./grants.ts";
import type { PartSet } from "./part-set.ts";
import type { ApiKeyAuth, PartKey } from "./program.ts";
import { resolvedRefs } from "./references.ts";
import type { ReferenceProblem } from "./references.ts";
import { decodeSecret } from "./secret.ts";
import { isOfKind } from "./stored.ts";

export interface ApiKeyDeps {
  readonly input: CompileInput;
  readonly parts: PartSet;
  readonly mayRefer: MayRefer;
}

export interface ApiKeyResult {
  readonly auth: ApiKeyAuth;
  /** `ResolvedRefs` of the policy. */
  readonly condition: ConditionDraft;
}

/** Adds the key set of a policy (Envoy Gateway `apiKeyAuth`) and says which references failed. */
export function compileApiKeyAuth(deps: ApiKeyDeps, policy: SecurityPolicy): ApiKeyResult {
  const { apiKeyAuth } = policy.spec;
  const clients = new Map<string, string>();
  const problems: ReferenceProblem[] = [];
  for (const [index, reference] of apiKeyAuth.credentialRefs.entries()) {
    const read = readCredential(deps, policy, reference);
    const path = ["spec", "apiKeyAuth", "credentialRefs", index];
    for (const problem of read.problems) {
      problems.push({ reason: problem.reason, cause: causeOf(path, problem) });
    }
    for (const [digest, client] of read.clients) {
      if (!clients.has(digest)) clients.set(digest, client);
    }
  }
  const header = apiKeyAuth.forwardClientIDHeader;
  const auth: ApiKeyAuth = {
    keys: addKeySet(deps.parts, fullName(policy), clients),
    extractFrom: apiKeyAuth.extractFrom.map(({ headers, params, cookies }) => ({
      ...(headers !== undefined && { headers: headers.map((name) => name.toLowerCase()) }),
      ...(params !== undefined && { params }),
      ...(cookies !== undefined && { cookies }),
    })),
    ...(header !== undefined && { forwardClientIdHeader: header }),
    sanitize: apiKeyAuth.sanitize ?? false,
  };
  return { auth, condition: resolvedRefs(problems) };
}

interface Problem {
  readonly reason: "InvalidCredential" | "RefNotPermitted" | "SecretNotFound" | "ConsumerNotFound";
  readonly message: string;
  readonly missing?: ResourceKey;
}

interface CredentialResult {
  readonly clients: readonly (readonly [digest: string, client: string])[];
  readonly problems: readonly Problem[];
}

function readCredential(
  { input, mayRefer }: ApiKeyDeps,
  policy: SecurityPolicy,
  reference: CredentialReference,
): CredentialResult {
  const kind = reference.kind ?? "Secret";
  const namespace = reference.namespace ?? policy.metadata.namespace;
  const { name } = reference;
  const from = {
    group: "sluice.dev",
    kind: "SecurityPolicy",
    namespace: policy.metadata.namespace,
  };
  const to = { group: kind === "Secret" ? "" : "sluice.dev", kind, namespace, name };
  if (!mayRefer({ from, to })) {
    const message = `no ReferenceGrant in ${namespace} allows the reference to ${kind} ${name}`;
    return { clients: [], problems: [{ reason: "RefNotPermitted", message }] };
  }
  const resource = input.get(kind, namespace, name);
  if (resource === undefined) {
    const message = `${kind} ${namespace}/${name} does not exist: its clients get 401`;
    const missing = { kind, namespace, name };
    return { clients: [], problems: [{ reason: `${kind}NotFound`, message, missing }] };
  }
  if (isOfKind(resource, "Consumer")) {
    const keys = resource.spec.apiKeys;
    return { clients: keys.map((key) => [key.sha256, name] as const), problems: [] };
  }
  return isOfKind(resource, "Secret") ? readSecret(resource) : { clients: [], problems: [] };
}

/** A Secret holds the key of each client under the client's id. */
function readSecret(secret: Secret): CredentialResult {
  const entries = decodeSecret(secret);
  const problems = entries
    .filter(([, key]) => !isKey(key))
    .map(([client]): Problem => {
      const where = `client ${client} in Secret ${fullName(secret)}`;
      const message = `the key of ${where} cannot be sent in a request`;
      return { reason: "InvalidCredential", message };
    });
  const clients = entries
    .filter(([, key]) => isKey(key))
    .map(([client, key]) => [sha256(key), client] as const);
  return { clients, problems };
}

/** Visible ASCII, possibly with spaces inside: what survives a header, a query or a cookie. */
function isKey(key: string): boolean {
  return /^[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?$/.test(key);
}

/** Clients on one page, on average: some 90 bytes each, far below the 64 KB of a part. */
const CLIENTS_PER_PAGE = 256;

/** Adds a key set, in pages by the first digits of the digest. */
function addKeySet(parts: PartSet, name: string, clients: ReadonlyMap<string, string>): PartKey {
  let digits = 0;
  while (clients.size / 16 ** digits > CLIENTS_PER_PAGE) digits++;
  const groups = Map.groupBy(clients, ([digest]) => digest.slice(0, digits));
  const pages = [...groups.keys()].toSorted().map((prefix) => {
    const key = `keyPage/${name}/${digits}${prefix}`;
    const sorted = (groups.get(prefix) ?? []).toSorted(([a], [b]) => (a < b ? -1 : 1));
    parts.add({ type: "keyPage", key, clients: Object.fromEntries(sorted) });
    return key;
  });
  const key = `keys/${name}`;
  parts.add({ type: "keys", key, pages });
  return key;
}
