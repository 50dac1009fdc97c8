/**
 * LLM providers: an AIServiceBackend with the Backend that reaches it and the credential that
 * requests to it carry. A provider whose credential cannot be read is not asked at all.
 */
import { sha256 } from "../base/hash.ts";
import type { AIServiceBackend, BackendSecurityPolicy } from "../resource/ai.ts";
import type { BackendSpec } from "../resource/backend.ts";
import type { Cause, ConditionDraft } from "../resource/resource.ts";
import { keyOf } from "../resource/resource.ts";
import { compareAge, fullName } from "./age.ts";
import type {
  BackendProblem,
  BackendTarget,
  CompileInput,
  FieldPlace,
  StatusDraft,
} from "./compiled.ts";
import type { BackendTlsOf } from "./backend-tls.ts";
import { connectBackend } from "./endpoints.ts";
import type { Connection } from "./endpoints.ts";
import type { MayRefer } from "./grants.ts";
import type { Credential, Provider } from "./program.ts";
import type { TracingReader } from "./reader.ts";
import { problemAt, resolvedRefs } from "./references.ts";
import { decodeSecretValue } from "./secret.ts";
import { isOfKind, listOf } from "./stored.ts";

type CredentialResult =
  | { readonly credential: Credential; readonly value: string }
  | { readonly problem: BackendProblem };

/** The credential of an AIServiceBackend; undefined where no policy gives it one. */
export type CredentialOf = (namespace: string, name: string) => CredentialResult | undefined;

export interface Credentials {
  readonly credentialOf: CredentialOf;
  readonly statuses: readonly StatusDraft[];
}

/** Reads all BackendSecurityPolicies; of two for one provider the older holds. */
export function readCredentials(input: CompileInput, mayRefer: MayRefer): Credentials {
  const byProvider = new Map<string, CredentialResult>();
  const owners = new Map<string, string>();
  const statuses: StatusDraft[] = [];
  const list = listOf(input, "BackendSecurityPolicy");
  for (const policy of list.toSorted(compareAge)) {
    const { namespace, generation } = policy.metadata;
    const result = readCredential(input, mayRefer, policy);
    const ancestors = policy.spec.targetRefs.map((target, index) => {
      const place = `${namespace}/${target.name}`;
      const owner = owners.get(place);
      const found = input.get("AIServiceBackend", namespace, target.name) !== undefined;
      if (found && owner === undefined) {
        owners.set(place, fullName(policy));
        byProvider.set(place, result);
      }
      const conditions = [
        acceptedOf({ namespace, ...target }, { index, found, owner }),
        resolvedOf(result),
      ];
      return { ancestorRef: { ...target, namespace }, conditions };
    });
    statuses.push({ key: keyOf(policy), generation, ancestors });
  }
  return { credentialOf: (namespace, name) => byProvider.get(`${namespace}/${name}`), statuses };
}

/** The key of the Secret that holds the provider's key (Envoy AI Gateway). */
const SECRET_KEY = "apiKey";

function readCredential(
  input: CompileInput,
  mayRefer: MayRefer,
  policy: BackendSecurityPolicy,
): CredentialResult {
  const reference = policy.spec.apiKey?.secretRef;
  const own = policy.metadata.namespace;
  const namespace = reference?.namespace ?? own;
  const name = reference?.name ?? "";
  const from = { group: "sluice.dev", kind: "BackendSecurityPolicy", namespace: own };
  const at = (field: string): FieldPlace => {
    return { resource: keyOf(policy), path: ["spec", "apiKey", "secretRef", field] };
  };
  if (!mayRefer({ from, to: { group: "", kind: "Secret", namespace, name } })) {
    const message = `no ReferenceGrant in ${namespace} allows the reference to Secret ${name}`;
    const place = at("namespace");
    return { problem: { reason: "RefNotPermitted", message, at: place } };
  }
  const secret = input.get("Secret", namespace, name);
  const stored = isOfKind(secret, "Secret") ? secret.data?.[SECRET_KEY] : undefined;
  if (stored === undefined) {
    const what = secret === undefined ? "does not exist" : `has no key ${SECRET_KEY}`;
    const message = `Secret ${namespace}/${name} ${what}`;
    const missing = secret === undefined ? { missing: { kind: "Secret", namespace, name } } : {};
    return { problem: { reason: "InvalidCredential", message, at: at("name"), ...missing } };
  }
  // A file that became a Secret often ends in a line break, which no key contains.
  const value = decodeSecretValue(stored).trim();
  if (!/^[\x21-\x7e]+$/.test(value)) {
    const message = `${SECRET_KEY} of Secret ${namespace}/${name} cannot be sent in a header`;
    return { problem: { reason: "InvalidCredential", message, at: at("name") } };
  }
  const ref = `Secret/${namespace}/${name}/${SECRET_KEY}`;
  const credential = { header: "authorization", prefix: "Bearer ", ref, digest: sha256(value) };
  return { credential, value };
}

interface Seen {
  readonly index: number;
  readonly found: boolean;
  readonly owner: string | undefined;
}

function acceptedOf(
  { namespace, name }: { readonly namespace: string; readonly name: string },
  { index, found, owner }: Seen,
): ConditionDraft {
  const place = `AIServiceBackend ${namespace}/${name}`;
  const path = ["spec", "targetRefs", index, "name"];
  if (!found) {
    const message = `${place} does not exist`;
    const missing = { kind: "AIServiceBackend", namespace, name };
    return refused("TargetNotFound", { path, message, missing });
  }
  if (owner !== undefined) {
    const message = `${place} already has the older BackendSecurityPolicy ${owner}`;
    return refused("Conflicted", { path, message });
  }
  return { type: "Accepted", status: "True", reason: "Accepted", message: "Policy is accepted" };
}

function refused(reason: string, cause: Cause): ConditionDraft {
  const { message } = cause;
  return { type: "Accepted", status: "False", reason, message, causes: [cause] };
}

function resolvedOf(result: CredentialResult): ConditionDraft {
  if ("problem" in result) {
    return resolvedRefs([problemAt(["spec", "apiKey", "secretRef"], result.problem)]);
  }
  const message = "All references are resolved";
  return { type: "ResolvedRefs", status: "True", reason: "ResolvedRefs", message };
}

export interface ProviderInput {
  readonly reader: TracingReader;
  readonly target: BackendTarget;
  readonly mayRefer: MayRefer;
  readonly credentialOf: CredentialOf;
  readonly backendTlsOf: BackendTlsOf;
  /** Told of every credential in use. */
  readonly useCredential: (ref: string, value: string) => void;
  /** What a Backend is at this moment. */
  readonly stableSpecOf: (
    target: BackendTarget,
  ) => { readonly spec: BackendSpec } | { readonly problem: BackendProblem };
}

/** How an AIServiceBackend of this spec is reached and spoken to. */
export function connectProvider(
  input: ProviderInput,
  spec: AIServiceBackend["spec"],
): (Connection & { readonly provider: Provider }) | { readonly problem: BackendProblem } {
  const { target } = input;
  const reference = spec.backendRef;
  const namespace = reference.namespace ?? target.namespace;
  const { name } = reference;
  const from = { group: "sluice.dev", kind: "AIServiceBackend", namespace: target.namespace };
  const own = { kind: "AIServiceBackend", namespace: target.namespace, name: target.name };
  const at = (field: string): FieldPlace => {
    return { resource: own, path: ["spec", "backendRef", field] };
  };
  const to = { group: "sluice.dev", kind: "Backend", namespace, name };
  if (!input.mayRefer({ from, to })) {
    const who = `AIServiceBackend ${target.name}`;
    const message = `no ReferenceGrant in ${namespace} allows ${who} to refer to Backend ${name}`;
    return { problem: { reason: "RefNotPermitted", message, at: at("namespace") } };
  }
  const backend = input.stableSpecOf({ kind: "Backend", namespace, name });
  if ("problem" in backend) return { problem: { at: at("name"), ...backend.problem } };
  const connection = connectBackend(input, backend.spec, { namespace, name });
  if ("problem" in connection) return connection;
  const credential = input.credentialOf(target.namespace, target.name);
  if (credential !== undefined && "problem" in credential) return credential;
  if (credential !== undefined) input.useCredential(credential.credential.ref, credential.value);
  const prefix = (spec.schema.prefix ?? "/v1").replace(/\/+$/, "");
  const provider: Provider = {
    schema: spec.schema.name,
    prefix,
    ...(credential !== undefined && { credential: credential.credential }),
  };
  return { ...connection, provider };
}
