/**
 * Namespace, Secret and ConfigMap (v1). No message about a Secret holds its values, and a Secret's
 * `stringData` is folded into `data` before it is stored, as a Kubernetes API server does.
 */
import { z } from "zod";
import { namespaceName } from "./format.ts";
import { column, defineKind, type Typed } from "./kind.ts";
import { type Refuse, throughout } from "./schema.ts";

const BASE64 = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/;
const DATA_KEY = /^[-._a-zA-Z0-9]+$/;
const BYTES_MAX = 1_048_576;

const immutable = z
  .literal(false, {
    error: "must be false or absent: immutable data is not supported by this version",
  })
  .exactOptional()
  .describe("Only false.");

const base64 = z.string().refine((value) => BASE64.test(value.replaceAll(/[\r\n]/g, "")), {
  error: "must be base64; plain text belongs in stringData (Secret) or data (ConfigMap)",
});

const namespaceSpec = z
  .looseObject({ finalizers: z.array(z.string()).max(16).exactOptional().describe("Kept.") })
  .exactOptional()
  .describe("Kept; changes nothing here.");

export const NAMESPACE = defineKind({
  group: "",
  version: "v1",
  kind: "Namespace",
  plural: "namespaces",
  shortNames: ["ns"],
  namespaced: false,
  name: namespaceName(),
  description: "A space for names; its labels are what a Gateway's allowedRoutes select by.",
  fields: { spec: namespaceSpec },
  status: z.looseObject({}).describe("Kept."),
});

const secretData = dataMap(base64, "Values in base64, by key.");
const stringData = dataMap(z.string(), "Values as plain text; folded into data when stored.");

export type Secret = Typed<
  "Secret",
  { type: string; data?: Readonly<Record<string, string>>; immutable?: false }
>;

export const SECRET = defineKind({
  group: "",
  version: "v1",
  kind: "Secret",
  plural: "secrets",
  description: "Values that must not be shown, such as keys and certificates.",
  fields: {
    type: z.string().max(316).default("Opaque").describe("What the Secret holds."),
    data: secretData,
    stringData,
    immutable,
  },
  columns: [column("Type", "type"), countColumn()],
});

export type ConfigMap = Typed<
  "ConfigMap",
  {
    data?: Readonly<Record<string, string>>;
    binaryData?: Readonly<Record<string, string>>;
    immutable?: false;
  }
>;

export const CONFIG_MAP = defineKind({
  group: "",
  version: "v1",
  kind: "ConfigMap",
  plural: "configmaps",
  shortNames: ["cm"],
  description: "Values to configure with.",
  fields: {
    data: dataMap(z.string(), "Values as text, by key."),
    binaryData: dataMap(base64, "Values in base64, by key."),
    immutable,
  },
  columns: [countColumn()],
});

/** `stringData` in base64 over `data`, as the API server stores a Secret. */
export function foldStringData(document: Record<string, unknown>): Record<string, unknown> {
  const { stringData: plain, ...rest } = document;
  if (plain === undefined || plain === null) return rest;
  const data: Record<string, string> = { ...(rest["data"] as Record<string, string> | undefined) };
  for (const [key, value] of Object.entries(plain as Record<string, string>)) {
    data[key] = Buffer.from(value).toString("base64");
  }
  return { ...rest, data };
}

function dataMap(value: z.ZodString, description: string) {
  return z
    .record(z.string().max(253), value)
    .superRefine(...throughout(checkData))
    .nullable()
    .exactOptional()
    .describe(description);
}

function checkData(map: Readonly<Record<string, string>>, refuse: Refuse): void {
  let bytes = 0;
  for (const [key, value] of Object.entries(map)) {
    if (!DATA_KEY.test(key)) refuse([key], "a key has letters, digits, '-', '_' and '.' alone");
    bytes += value.length;
  }
  if (bytes > BYTES_MAX) refuse([], "may hold at most 1 MiB");
}

function countColumn() {
  return {
    name: "Data",
    type: "integer" as const,
    priority: 0 as const,
    description: "Number of keys.",
    value: (resource: object) => {
      const { data, binaryData } = resource as ConfigMap;
      return Object.keys(data ?? {}).length + Object.keys(binaryData ?? {}).length;
    },
  };
}
