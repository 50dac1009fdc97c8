/**
 * The annotations cert-manager.io/issuer and cert-manager.io/cluster-issuer of a Gateway: a
 * Certificate for each Secret that its TLS listeners name, with the names of these listeners
 * (cert-manager's gateway-shim). Pure: Gateways and what is there in, changes and complaints out.
 */
import { jsonEqual, type JsonObject } from "../../base/json.ts";
import {
  CLUSTER_ISSUER_ANNOTATION,
  ISSUER_ANNOTATION,
  issuerOf,
  namesBySecret,
} from "../../compile/wanted-certificates.ts";
import { type Certificate, CERTIFICATE } from "../../resource/certificate.ts";
import type { Gateway } from "../../resource/gateway.ts";
import { apiVersionOf } from "../../resource/kind.ts";
import { CERT_MANAGER_GROUP } from "../../resource/reference.ts";
import type { ResourceDraft } from "../../resource/resource.ts";
import type { Change } from "../../store/store.ts";

const PREFIX = "cert-manager.io/";
const [ISSUER, CLUSTER_ISSUER] = [ISSUER_ANNOTATION, CLUSTER_ISSUER_ANNOTATION];

export interface GatewayCertificates {
  readonly changes: readonly Change[];
  /** What an Event on the Gateway says, CamelCase reason first. */
  readonly events: readonly { readonly reason: string; readonly message: string }[];
}

/** `certificates` are those of the Gateway's namespace. */
export function gatewayCertificates(
  gateway: Gateway,
  certificates: readonly Certificate[],
): GatewayCertificates {
  const isOwned = (one: Certificate): boolean => ownerOf(one)?.uid === gateway.metadata.uid;
  const wanted = readAnnotations(gateway);
  const names: ReadonlyMap<string, readonly string[]> =
    wanted === undefined ? new Map() : namesBySecret(gateway);
  const outcomes = [...names].map(([secretName, dnsNames]) => {
    const before = certificates.find(({ metadata }) => metadata.name === secretName);
    if (before !== undefined && !isOwned(before)) {
      return complain(`Certificate "${secretName}" is not this Gateway's; it is left alone`);
    }
    const drafted = draftOf(gateway, { secretName, dnsNames }, wanted?.fields ?? {});
    return "problem" in drafted ? complain(drafted.problem) : bring(before, drafted.draft);
  });
  const surplus = certificates.filter((one) => isOwned(one) && !names.has(one.metadata.name));
  const all = [...(wanted?.problems ?? []).map(complain), ...outcomes, ...surplus.map(remove)];
  return {
    changes: all.flatMap(({ change }) => (change === undefined ? [] : [change])),
    events: all.flatMap(({ event }) => (event === undefined ? [] : [event])),
  };
}

interface Outcome {
  readonly change?: Change;
  readonly event?: GatewayCertificates["events"][number];
}

function complain(message: string): Outcome {
  return { event: { reason: "BadConfig", message } };
}

/** Creates the Certificate, or makes it what it should be. */
function bring(before: Certificate | undefined, draft: ResourceDraft): Outcome {
  const { name } = draft.metadata;
  if (before === undefined) {
    const message = `Successfully created Certificate "${name}"`;
    return {
      change: { op: "create", resource: draft },
      event: { reason: "CreateCertificate", message },
    };
  }
  if (jsonEqual(before.spec, draft["spec"])) return {};
  const message = `Successfully updated Certificate "${name}"`;
  return {
    change: { op: "update", resource: { ...draft, metadata: before.metadata } },
    event: { reason: "UpdateCertificate", message },
  };
}

function remove({ metadata }: Certificate): Outcome {
  const { namespace, name, resourceVersion } = metadata;
  const message = `Successfully deleted unrequired Certificate "${name}"`;
  return {
    change: { op: "delete", key: { kind: "Certificate", namespace, name }, resourceVersion },
    event: { reason: "DeleteCertificate", message },
  };
}

function ownerOf({ metadata }: Certificate) {
  return metadata.ownerReferences?.find(({ kind }) => kind === "Gateway");
}

interface Wanted {
  readonly fields: Readonly<Record<string, unknown>>;
  readonly problems: readonly string[];
}

/** Annotations that become fields of the Certificate, as in cert-manager. */
const FIELDS: Readonly<Record<string, readonly string[]>> = {
  "common-name": ["commonName"],
  duration: ["duration"],
  "renew-before": ["renewBefore"],
  "renew-before-percentage": ["renewBeforePercentage"],
  "private-key-algorithm": ["privateKey", "algorithm"],
  "private-key-encoding": ["privateKey", "encoding"],
  "private-key-size": ["privateKey", "size"],
  "private-key-rotation-policy": ["privateKey", "rotationPolicy"],
};
const NUMBERS = new Set(["renew-before-percentage", "private-key-size"]);

/** Undefined where the Gateway asks for nothing. */
function readAnnotations(gateway: Gateway): Wanted | undefined {
  const issuerRef = issuerOf(gateway);
  if (issuerRef === undefined) return undefined;
  const { annotations = {} } = gateway.metadata;
  const problems: string[] = [];
  if (annotations[ISSUER] !== undefined && annotations[CLUSTER_ISSUER] !== undefined) {
    problems.push(`${ISSUER} and ${CLUSTER_ISSUER} exclude one another; ${ISSUER} is taken`);
  }
  const fields: Record<string, unknown> = { issuerRef };
  for (const [annotation, value] of Object.entries(annotations)) {
    if (!annotation.startsWith(PREFIX)) continue;
    if (annotation === ISSUER || annotation === CLUSTER_ISSUER) continue;
    const name = annotation.slice(PREFIX.length);
    const [field, inner] = Object.hasOwn(FIELDS, name) ? (FIELDS[name] ?? []) : [];
    if (field === undefined) {
      const valid = Object.keys(FIELDS).join(", ");
      problems.push(`annotation ${annotation} is not supported by this version; valid: ${valid}`);
      continue;
    }
    const read = NUMBERS.has(name) ? Number(value) : value;
    fields[field] =
      inner === undefined ? read : { ...(fields[field] as object | undefined), [inner]: read };
  }
  return { fields, problems };
}

/** The Certificate for one Secret; `problem` where an annotation holds what none may. */
function draftOf(
  gateway: Gateway,
  names: { readonly secretName: string; readonly dnsNames: readonly string[] },
  fields: Wanted["fields"],
): { readonly draft: ResourceDraft } | { readonly problem: string } {
  const { name, namespace, uid, labels } = gateway.metadata;
  const owner = { apiVersion: gateway.apiVersion, kind: "Gateway", name, uid, controller: true };
  const document = {
    apiVersion: apiVersionOf(CERT_MANAGER_GROUP, "v1"),
    kind: "Certificate",
    metadata: {
      name: names.secretName,
      namespace,
      ownerReferences: [owner],
      ...(labels !== undefined && { labels }),
    },
    spec: { ...names, ...fields },
  };
  const parsed = CERTIFICATE.schema.safeParse(document);
  // The defaults are stored, as those of documents are.
  if (parsed.success) return { draft: { ...document, spec: parsed.data["spec"] as JsonObject } };
  const problems = parsed.error.issues.map(
    ({ path, message }) => `${path.slice(1).join(".")}: ${message}`,
  );
  return { problem: `annotations: ${problems.join("; ")}` };
}
