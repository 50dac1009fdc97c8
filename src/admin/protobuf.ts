/**
 * Kubernetes' protobuf for the few bodies that kubectl sends in no other form: `create secret
 * generic`, `create configmap`, `create namespace`, `create service`, `auth can-i`. A table per
 * message gives its field numbers (generated.proto of k8s.io/api and apimachinery); a field that is
 * not in its table is refused, not skipped. Answers are JSON, which the same clients accept.
 */
import type { JsonObject, JsonValue } from "../base/json.ts";
import { badRequest, unsupportedMediaType } from "./api-error.ts";

type FieldType =
  | "string"
  | "int"
  | "bool"
  /** A map of strings, and one of bytes, which JSON carries as base64. */
  | "map"
  | "bytes-map"
  | "time"
  | "int-or-string"
  | MessageTable;

interface Field {
  readonly name: string;
  readonly type: FieldType;
  readonly repeated?: true;
}

interface MessageTable {
  readonly [fieldNumber: number]: Field;
}

function field(name: string, type: FieldType = "string"): Field {
  return { name, type };
}

function list(name: string, type: FieldType = "string"): Field {
  return { name, type, repeated: true };
}

const OWNER_REFERENCE: MessageTable = {
  1: field("kind"),
  3: field("name"),
  4: field("uid"),
  5: field("apiVersion"),
  6: field("controller", "bool"),
  7: field("blockOwnerDeletion", "bool"),
};

const OBJECT_META: MessageTable = {
  1: field("name"),
  2: field("generateName"),
  3: field("namespace"),
  4: field("selfLink"),
  5: field("uid"),
  6: field("resourceVersion"),
  7: field("generation", "int"),
  8: field("creationTimestamp", "time"),
  9: field("deletionTimestamp", "time"),
  10: field("deletionGracePeriodSeconds", "int"),
  11: field("labels", "map"),
  12: field("annotations", "map"),
  13: list("ownerReferences", OWNER_REFERENCE),
  14: list("finalizers"),
};

const SERVICE_PORT: MessageTable = {
  1: field("name"),
  2: field("protocol"),
  3: field("port", "int"),
  4: field("targetPort", "int-or-string"),
  5: field("nodePort", "int"),
  6: field("appProtocol"),
};

const SERVICE_SPEC: MessageTable = {
  1: list("ports", SERVICE_PORT),
  2: field("selector", "map"),
  3: field("clusterIP"),
  4: field("type"),
  5: list("externalIPs"),
  7: field("sessionAffinity"),
  8: field("loadBalancerIP"),
  9: list("loadBalancerSourceRanges"),
  10: field("externalName"),
  11: field("externalTrafficPolicy"),
  12: field("healthCheckNodePort", "int"),
  13: field("publishNotReadyAddresses", "bool"),
  17: field("ipFamilyPolicy"),
  18: list("clusterIPs"),
  19: list("ipFamilies"),
  20: field("allocateLoadBalancerNodePorts", "bool"),
  21: field("loadBalancerClass"),
  22: field("internalTrafficPolicy"),
};

const RESOURCE_ATTRIBUTES: MessageTable = {
  1: field("namespace"),
  2: field("verb"),
  3: field("group"),
  4: field("version"),
  5: field("resource"),
  6: field("subresource"),
  7: field("name"),
};

const NAMESPACE_STATUS: MessageTable = { 1: field("phase") };
const LOAD_BALANCER: MessageTable = {};
const SERVICE_STATUS: MessageTable = { 1: field("loadBalancer", LOAD_BALANCER) };
const REVIEW_STATUS: MessageTable = {
  1: field("allowed", "bool"),
  2: field("reason"),
  3: field("evaluationError"),
  4: field("denied", "bool"),
};

const MESSAGES: Readonly<Record<string, MessageTable>> = {
  "v1 ConfigMap": {
    1: field("metadata", OBJECT_META),
    2: field("data", "map"),
    3: field("binaryData", "bytes-map"),
    4: field("immutable", "bool"),
  },
  "v1 Namespace": {
    1: field("metadata", OBJECT_META),
    2: field("spec", { 1: list("finalizers") }),
    3: field("status", NAMESPACE_STATUS),
  },
  "v1 Secret": {
    1: field("metadata", OBJECT_META),
    2: field("data", "bytes-map"),
    3: field("type"),
    4: field("stringData", "map"),
    5: field("immutable", "bool"),
  },
  "v1 Service": {
    1: field("metadata", OBJECT_META),
    2: field("spec", SERVICE_SPEC),
    3: field("status", SERVICE_STATUS),
  },
  "authorization.k8s.io/v1 SelfSubjectAccessReview": {
    1: field("metadata", OBJECT_META),
    2: field("spec", {
      1: field("resourceAttributes", RESOURCE_ATTRIBUTES),
      2: field("nonResourceAttributes", { 1: field("path"), 2: field("verb") }),
    }),
    3: field("status", REVIEW_STATUS),
  },
  "v1 DeleteOptions": {
    1: field("gracePeriodSeconds", "int"),
    2: field("preconditions", { 1: field("uid"), 2: field("resourceVersion") }),
    3: field("orphanDependents", "bool"),
    4: field("propagationPolicy"),
    5: list("dryRun"),
  },
};

/** "k8s" and NUL: what every such body begins with. */
const MAGIC = Buffer.from("k8s\0");

/** The document in a body of `application/vnd.kubernetes.protobuf`. Throws ApiError 400 and 415. */
export function decodeProtobuf(body: Buffer): JsonObject {
  if (!body.subarray(0, MAGIC.length).equals(MAGIC)) throw malformed();
  let apiVersion = "";
  let kind = "";
  let raw: Buffer = Buffer.alloc(0);
  for (const { number, value } of fieldsOf(body.subarray(MAGIC.length))) {
    if (number === 1 && Buffer.isBuffer(value)) {
      for (const inner of fieldsOf(value)) {
        if (inner.number === 1) apiVersion = text(inner.value);
        if (inner.number === 2) kind = text(inner.value);
      }
    }
    if (number === 2 && Buffer.isBuffer(value)) raw = value;
  }
  const table = kind === "DeleteOptions" ? "v1 DeleteOptions" : `${apiVersion} ${kind}`;
  const message = Object.hasOwn(MESSAGES, table) ? MESSAGES[table] : undefined;
  if (message === undefined) {
    throw unsupportedMediaType(
      `${kind.slice(0, 63)} is not read as protobuf by this version; send application/json`,
    );
  }
  return { apiVersion, kind, ...decodeMessage(raw, message, kind) };
}

interface RawField {
  readonly number: number;
  readonly value: Buffer | bigint;
}

/** The fields of a message in the order of the wire. */
function* fieldsOf(bytes: Buffer): Generator<RawField> {
  let at = 0;
  const varint = (): bigint => {
    let value = 0n;
    for (let shift = 0n; shift < 70n; shift += 7n) {
      const byte = bytes[at++];
      if (byte === undefined) throw malformed();
      value |= BigInt(byte & 0x7f) << shift;
      if (byte < 0x80) return BigInt.asIntN(64, value);
    }
    throw malformed();
  };
  while (at < bytes.length) {
    const tag = Number(varint());
    const wireType = tag & 7;
    if (wireType === 0) {
      yield { number: tag >>> 3, value: varint() };
    } else if (wireType === 2) {
      const length = Number(varint());
      if (length < 0 || length > bytes.length - at) throw malformed();
      yield { number: tag >>> 3, value: bytes.subarray(at, at + length) };
      at += length;
    } else {
      throw malformed();
    }
  }
}

function decodeMessage(bytes: Buffer, table: MessageTable, path: string): JsonObject {
  const result: Record<string, JsonValue> = {};
  for (const { number, value } of fieldsOf(bytes)) {
    const known = table[number];
    if (known === undefined) {
      throw badRequest(`${path}: field ${number} of the protobuf message is not supported`);
    }
    const { name, type } = known;
    if (type === "map" || type === "bytes-map") {
      const [key, entry] = mapEntry(value, type === "bytes-map");
      const entries = (result[name] ??= {}) as Record<string, string>;
      entries[key] = entry;
      continue;
    }
    const decoded = decodeValue(value, type, `${path}.${name}`);
    if (known.repeated === true) {
      const items = (result[name] ??= []) as JsonValue[];
      items.push(decoded ?? "");
    } else if (decoded !== undefined) {
      result[name] = decoded;
    }
  }
  return result;
}

/** Undefined for a zero value, which Go's encoder writes where nothing was set. */
function decodeValue(
  value: Buffer | bigint,
  type: Exclude<FieldType, "map" | "bytes-map">,
  path: string,
): JsonValue | undefined {
  if (type === "string") return text(value) === "" ? undefined : text(value);
  if (type === "int") return typeof value === "bigint" && value !== 0n ? Number(value) : undefined;
  if (type === "bool") return value === 0n ? undefined : true;
  if (!Buffer.isBuffer(value)) throw malformed();
  if (type === "time") return decodeTime(value);
  if (type === "int-or-string") return decodeIntOrString(value);
  const message = decodeMessage(value, type, path);
  return Object.keys(message).length === 0 ? undefined : message;
}

function decodeTime(bytes: Buffer): string | undefined {
  const seconds = [...fieldsOf(bytes)].find(({ number }) => number === 1)?.value;
  if (typeof seconds !== "bigint") return undefined;
  const date = new Date(Number(seconds) * 1000);
  if (Number.isNaN(date.getTime())) throw malformed();
  return date.toISOString();
}

function decodeIntOrString(bytes: Buffer): JsonValue | undefined {
  let isString = false;
  let number = 0;
  let string = "";
  for (const part of fieldsOf(bytes)) {
    if (part.number === 1) isString = part.value === 1n;
    if (part.number === 2 && typeof part.value === "bigint") number = Number(part.value);
    if (part.number === 3) string = text(part.value);
  }
  if (isString) return string;
  return number === 0 ? undefined : number;
}

function mapEntry(value: Buffer | bigint, ofBytes: boolean): readonly [string, string] {
  if (!Buffer.isBuffer(value)) throw malformed();
  let key = "";
  let entry = "";
  for (const part of fieldsOf(value)) {
    if (part.number === 1) key = text(part.value);
    if (part.number === 2 && ofBytes && Buffer.isBuffer(part.value)) {
      entry = part.value.toString("base64");
    } else if (part.number === 2) {
      entry = text(part.value);
    }
  }
  if (key === "__proto__") throw badRequest('the document must not hold the key "__proto__"');
  return [key, entry];
}

function text(value: Buffer | bigint): string {
  if (!Buffer.isBuffer(value)) throw malformed();
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(value);
  } catch {
    throw malformed();
  }
}

function malformed(): Error {
  return badRequest("the body of the request is not valid Kubernetes protobuf");
}
