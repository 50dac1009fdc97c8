/**
 * What a kind is to the rest of Sluice: its names, its schema and its columns. A kind is data; the
 * parser, the admin API, OpenAPI and the command line all read the same definition.
 */
import { z } from "zod";
import { isJsonObject, type JsonValue } from "../base/json.ts";
import { metadataSchema } from "./metadata.ts";
import type { ObjectMeta, Resource } from "./resource.ts";
import { across, object, type Refuse } from "./schema.ts";

export interface KindDefinition {
  /** "" for the core group. */
  readonly group: string;
  readonly version: string;
  /** Versions of the same group that are read as `version`. */
  readonly olderVersions: readonly string[];
  readonly kind: string;
  readonly plural: string;
  readonly singular: string;
  readonly shortNames: readonly string[];
  /** kubectl's groups of kinds, such as "all". */
  readonly categories: readonly string[];
  readonly namespaced: boolean;
  /** The whole document, strict, with defaults. */
  readonly schema: z.ZodObject;
  readonly statusSubresource: boolean;
  /** kubectl's table without Name and Age, which every kind has. */
  readonly columns: readonly Column[];
  readonly description: string;
}

export interface Column {
  readonly name: string;
  readonly type: "string" | "integer" | "boolean" | "date";
  readonly description: string;
  /** 0: always shown; 1: with `-o wide` only. */
  readonly priority: 0 | 1;
  readonly value: (resource: Resource) => string | number | boolean | undefined;
}

/** A stored resource of one kind; a `Resource` of that kind may be asserted to be one. */
export type Typed<Kind extends string, Fields extends object> = {
  readonly apiVersion: string;
  readonly kind: Kind;
  readonly metadata: ObjectMeta;
} & Readonly<Fields>;

export interface KindOptions {
  readonly group: string;
  readonly version: string;
  readonly olderVersions?: readonly string[];
  readonly kind: string;
  readonly plural: string;
  readonly shortNames?: readonly string[];
  readonly categories?: readonly string[];
  /** True unless said otherwise. */
  readonly namespaced?: boolean;
  readonly name?: z.ZodString;
  readonly description: string;
  /** The fields beside apiVersion, kind, metadata and status. */
  readonly fields: z.ZodRawShape;
  /** Present: the kind has a status subresource. */
  readonly status?: z.ZodType;
  readonly columns?: readonly Column[];
  /** Rules between top-level fields, for kinds without a spec to hang them on. */
  readonly check?: (document: Readonly<Record<string, unknown>>, refuse: Refuse) => void;
}

export function defineKind(options: KindOptions): KindDefinition {
  const namespaced = options.namespaced ?? true;
  const { group, version, kind } = options;
  const older = options.olderVersions ?? [];
  const apiVersions = [version, ...older].map((name) => apiVersionOf(group, name));
  const schema = object({
    apiVersion: z.enum(apiVersions).describe("Group and version of the kind."),
    kind: z.literal(kind).describe("The kind."),
    metadata: metadataSchema({ namespaced, ...(options.name && { name: options.name }) }),
    ...options.fields,
    ...(options.status && { status: options.status.exactOptional() }),
  }).describe(options.description);
  return {
    group,
    version,
    olderVersions: older,
    kind,
    plural: options.plural,
    singular: kind.toLowerCase(),
    shortNames: options.shortNames ?? [],
    categories: options.categories ?? [],
    namespaced,
    schema: options.check === undefined ? schema : schema.superRefine(across(options.check)),
    statusSubresource: options.status !== undefined,
    columns: options.columns ?? [],
    description: options.description,
  };
}

/** "v1" for the core group, "GROUP/VERSION" else. */
export function apiVersionOf(group: string, version: string): string {
  return group === "" ? version : `${group}/${version}`;
}

/** A column that shows the scalar at `path` ("spec.version"), or the length of a list there. */
export function column(
  name: string,
  path: string,
  options: Partial<Pick<Column, "type" | "priority" | "description">> = {},
): Column {
  const segments = path.split(".");
  return {
    name,
    type: options.type ?? "string",
    priority: options.priority ?? 0,
    description: options.description ?? path,
    value: (resource) => {
      let value: unknown = resource;
      for (const segment of segments) value = isJsonObject(value) ? value[segment] : undefined;
      if (Array.isArray(value)) return value.length;
      return isScalar(value) ? value : undefined;
    },
  };
}

function isScalar(value: unknown): value is string | number | boolean {
  return typeof value === "string" || typeof value === "number" || typeof value === "boolean";
}

/** A column that shows the status of one of the resource's own conditions. */
export function conditionColumn(name: string, type: string): Column {
  return {
    name,
    type: "string",
    priority: 0,
    description: `Status of the condition ${type}.`,
    value: (resource) => conditionStatus(resource.status?.["conditions"], type),
  };
}

function conditionStatus(conditions: JsonValue | undefined, type: string): string | undefined {
  if (!Array.isArray(conditions)) return undefined;
  const found = conditions.find((item) => isJsonObject(item) && item["type"] === type);
  return isJsonObject(found) && typeof found["status"] === "string" ? found["status"] : undefined;
}
