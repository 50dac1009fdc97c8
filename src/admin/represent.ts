/**
 * How resources look on the wire: as they are stored, save that an empty namespace is absent and
 * that the apiVersion is the one asked for; as metadata alone; or as rows of a table for people.
 */
import { assert } from "../base/assert.ts";
import { isJsonObject } from "../base/json.ts";
import type { JsonObject, JsonValue } from "../base/json.ts";
import { apiVersionOf } from "../resource/kind.ts";
import type { Column, KindDefinition } from "../resource/kind.ts";
import type { Resource } from "../resource/resource.ts";
import type { View } from "./accept.ts";

/** What of a resource goes into a table's row beside the cells: `includeObject` of a request. */
export type RowObject = "None" | "Metadata" | "Object";

export interface Presentation {
  readonly kind: KindDefinition;
  /** The version in the request's path: the kind's own or an older one. */
  readonly version: string;
  readonly view: View;
  readonly rowObject: RowObject;
  readonly nowMs: number;
}

const META_V1 = "meta.k8s.io/v1";

/** One resource as the client asked to see it. */
export function presentOne(resource: Resource, presentation: Presentation): JsonObject {
  if (presentation.view === "object") return toWire(resource, presentation);
  if (presentation.view === "metadata") return toMetadata(resource);
  const { resourceVersion } = resource.metadata;
  return toTable([resource], presentation, { resourceVersion });
}

/** A list as the client asked to see it; `listMeta` is its resourceVersion and continue. */
export function presentList(
  resources: readonly Resource[],
  presentation: Presentation,
  listMeta: JsonObject,
): JsonObject {
  const { kind, version, view } = presentation;
  if (view === "table") return toTable(resources, presentation, listMeta);
  if (view === "metadata") {
    return {
      kind: "PartialObjectMetadataList",
      apiVersion: META_V1,
      metadata: listMeta,
      items: resources.map(toMetadata),
    };
  }
  return {
    kind: `${kind.kind}List`,
    apiVersion: apiVersionOf(kind.group, version),
    metadata: listMeta,
    items: resources.map((resource) => toWire(resource, presentation)),
  };
}

/** The resource under the apiVersion asked for, without what the API leaves out when empty. */
export function toWire(resource: Resource, as: Pick<Presentation, "kind" | "version">): JsonObject {
  return {
    ...(resource as JsonObject),
    apiVersion: apiVersionOf(as.kind.group, as.version),
    metadata: metadataOf(resource),
  };
}

function toMetadata(resource: Resource): JsonObject {
  return {
    kind: "PartialObjectMetadata",
    apiVersion: META_V1,
    metadata: metadataOf(resource),
  };
}

function metadataOf(resource: Resource): JsonObject {
  const { name, namespace, ...rest } = resource.metadata;
  const own = namespace === "" ? { name, ...rest } : { name, namespace, ...rest };
  assert(isJsonObject(own), "metadata is an object");
  return own;
}

function toTable(
  resources: readonly Resource[],
  presentation: Presentation,
  listMeta: JsonObject,
): JsonObject {
  return {
    kind: "Table",
    apiVersion: META_V1,
    metadata: listMeta,
    columnDefinitions: columnDefinitions(presentation.kind),
    rows: resources.map((resource) => ({
      cells: cellsOf(resource, presentation),
      ...rowObject(resource, presentation),
    })),
  };
}

function rowObject(resource: Resource, presentation: Presentation): JsonObject {
  if (presentation.rowObject === "None") return {};
  const isWhole = presentation.rowObject === "Object";
  return { object: isWhole ? toWire(resource, presentation) : toMetadata(resource) };
}

function columnDefinitions(kind: KindDefinition): JsonValue[] {
  // People look for an Event by its object and reason: its own name only says which came when.
  const priority = kind.kind === "Event" ? 1 : 0;
  return [
    { name: "Name", type: "string", format: "name", description: "The name.", priority },
    ...kind.columns.map(({ name, type, description, priority: own }) => ({
      name,
      // A date is told as an age, which is text.
      type: type === "date" ? "string" : type,
      format: "",
      description,
      priority: own,
    })),
    { name: "Age", type: "string", format: "", description: "Time since creation.", priority },
  ];
}

function cellsOf(resource: Resource, { kind, nowMs }: Presentation): JsonValue[] {
  const { name, creationTimestamp } = resource.metadata;
  const own = kind.columns.map((column) => cellOf(resource, column, nowMs));
  return [name, ...own, ageText(creationTimestamp, nowMs)];
}

function cellOf(resource: Resource, column: Column, nowMs: number): JsonValue {
  const value = column.value(resource);
  if (value === undefined) return null;
  return column.type === "date" && typeof value === "string" ? ageText(value, nowMs) : value;
}

function ageText(timestamp: string, nowMs: number): string {
  const thenMs = Date.parse(timestamp);
  return Number.isNaN(thenMs) ? "<unknown>" : formatAge(nowMs - thenMs);
}

/** An age as kubectl prints it (apimachinery's duration.HumanDuration). */
export function formatAge(ageMs: number): string {
  const seconds = Math.max(0, Math.floor(ageMs / 1000));
  if (seconds < 120) return `${seconds}s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 10) return joined([minutes, "m"], [seconds % 60, "s"]);
  if (minutes < 180) return `${minutes}m`;
  const hours = Math.floor(minutes / 60);
  if (hours < 8) return joined([hours, "h"], [minutes % 60, "m"]);
  if (hours < 48) return `${hours}h`;
  const days = Math.floor(hours / 24);
  if (hours < 192) return joined([days, "d"], [hours % 24, "h"]);
  if (days < 730) return `${days}d`;
  const years = Math.floor(days / 365);
  return days < 2920 ? joined([years, "y"], [days % 365, "d"]) : `${years}y`;
}

function joined(first: readonly [number, string], second: readonly [number, string]): string {
  return second[0] === 0 ? first.join("") : first.join("") + second.join("");
}
