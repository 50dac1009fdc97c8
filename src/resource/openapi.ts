/**
 * The kinds for other programs: OpenAPI v3 per group and version, as kubectl's explain, apply and
 * dry run read it, and one JSON Schema for editors. Both are made from the schemas that parse.
 */
import { z } from "zod";
import { contentHash } from "../base/hash.ts";
import { isJsonObject, type JsonObject } from "../base/json.ts";
import { apiVersionOf, type KindDefinition } from "./kind.ts";
import { KINDS } from "./kinds.ts";

export interface OpenApiDocument {
  /** JSON. */
  readonly text: string;
  /** Changes when the text does. */
  readonly hash: string;
}

let documents: ReadonlyMap<string, OpenApiDocument> | undefined;

/** All documents by their path below /openapi/v3: "api/v1", "apis/sluice.dev/v1alpha1". */
export function openApiDocuments(): ReadonlyMap<string, OpenApiDocument> {
  documents ??= makeDocuments();
  return documents;
}

function makeDocuments(): ReadonlyMap<string, OpenApiDocument> {
  // kubectl validates a document against the version that it names, so each version has its own.
  const served = KINDS.flatMap((definition) =>
    [definition.version, ...definition.olderVersions].map((version) => ({
      ...definition,
      version,
      olderVersions: [],
    })),
  );
  const byPath = Map.groupBy(served, ({ group, version }) => apiPath(group, version));
  const made = new Map<string, OpenApiDocument>();
  for (const [path, kinds] of byPath) {
    const document = makeDocument(kinds);
    made.set(path, { text: JSON.stringify(document), hash: contentHash(document) });
  }
  return made;
}

/** "api/v1" for the core group, "apis/GROUP/VERSION" else. */
export function apiPath(group: string, version: string): string {
  return group === "" ? `api/${version}` : `apis/${group}/${version}`;
}

function makeDocument(kinds: readonly KindDefinition[]): JsonObject {
  const paths: Record<string, JsonObject> = {};
  const schemas: Record<string, JsonObject> = {};
  for (const definition of kinds) {
    schemas[schemaName(definition)] = {
      ...schemaOf(definition, "openapi-3.0"),
      "x-kubernetes-group-version-kind": [groupVersionKind(definition)],
    };
    Object.assign(paths, pathsOf(definition));
  }
  return {
    openapi: "3.0.0",
    info: { title: "Sluice", version: "v1" },
    paths,
    components: { schemas },
  };
}

/** "dev.sluice.v1alpha1.Backend", as Kubernetes names the schemas of custom resources. */
function schemaName({ group, version, kind }: KindDefinition): string {
  const reversed = group === "" ? "io.k8s.api.core" : group.split(".").toReversed().join(".");
  return `${reversed}.${version}.${kind}`;
}

function groupVersionKind({ group, version, kind }: KindDefinition): JsonObject {
  return { group, version, kind };
}

const NAME = pathParameter("name", "Name of the resource.");
const NAMESPACE = pathParameter("namespace", "Namespace of the resource.");
const FIELD_VALIDATION = queryParameter("fieldValidation", "Always Strict.");
const DRY_RUN = queryParameter("dryRun", "All: nothing is written.");

/** The requests that a kind answers; kubectl looks up there whether dryRun may be asked for. */
function pathsOf(definition: KindDefinition): Record<string, JsonObject> {
  const { group, version, plural, namespaced } = definition;
  const scope = namespaced ? "/namespaces/{namespace}" : "";
  const list = `/${apiPath(group, version)}${scope}/${plural}`;
  const listParameters = namespaced ? [NAMESPACE] : [];
  const itemParameters = [NAME, ...listParameters];
  const operation = (action: string, parameters: readonly JsonObject[]): JsonObject => ({
    "x-kubernetes-action": action,
    "x-kubernetes-group-version-kind": groupVersionKind(definition),
    parameters,
    responses: {
      "200": {
        description: "OK",
        content: {
          "application/json": {
            schema: { $ref: `#/components/schemas/${schemaName(definition)}` },
          },
        },
      },
    },
  });
  const written = [DRY_RUN, FIELD_VALIDATION];
  const item: JsonObject = {
    parameters: itemParameters,
    get: operation("get", []),
    put: operation("put", written),
    patch: operation("patch", written),
    delete: operation("delete", [DRY_RUN]),
  };
  const status: JsonObject = {
    parameters: itemParameters,
    get: operation("get", []),
    put: operation("put", written),
    patch: operation("patch", written),
  };
  return {
    [list]: {
      parameters: listParameters,
      get: operation("list", []),
      post: operation("post", written),
    },
    [`${list}/{name}`]: item,
    ...(definition.statusSubresource && { [`${list}/{name}/status`]: status }),
  };
}

function pathParameter(name: string, description: string): JsonObject {
  return { name, in: "path", required: true, description, schema: { type: "string" } };
}

function queryParameter(name: string, description: string): JsonObject {
  return { name, in: "query", description, schema: { type: "string" } };
}

/** One JSON Schema (draft 7) for documents of every kind, for editors to check with. */
export function jsonSchema(): JsonObject {
  const definitions: Record<string, JsonObject> = {};
  for (const definition of KINDS) definitions[definition.kind] = schemaOf(definition, "draft-7");
  return {
    $schema: "http://json-schema.org/draft-07/schema#",
    title: "Sluice",
    description: "A resource of Sluice.",
    type: "object",
    required: ["apiVersion", "kind", "metadata"],
    oneOf: KINDS.map((definition) => ({ $ref: `#/definitions/${definition.kind}` })),
    definitions,
  };
}

function schemaOf(definition: KindDefinition, target: "draft-7" | "openapi-3.0"): JsonObject {
  const schema = z.toJSONSchema(definition.schema, {
    target,
    io: "input",
    unrepresentable: "any",
    override: ({ jsonSchema: made }) => tidy(made as Record<string, unknown>),
  });
  const { $schema: _draft, properties, ...rest } = schema as Record<string, unknown>;
  return {
    ...rest,
    properties: {
      ...(properties as JsonObject),
      apiVersion: {
        type: "string",
        description: "Group and version of the kind.",
        enum: [definition.version, ...definition.olderVersions].map((version) =>
          apiVersionOf(definition.group, version),
        ),
      },
    },
  };
}

/** Leaves out the bounds of JavaScript's integers and says int-or-string as Kubernetes does. */
function tidy(schema: Record<string, unknown>): void {
  if (schema["minimum"] === Number.MIN_SAFE_INTEGER) delete schema["minimum"];
  if (schema["maximum"] === Number.MAX_SAFE_INTEGER) delete schema["maximum"];
  const items = schema["items"];
  // What the list is for says more than what its items are; explain would print both.
  if (schema["description"] !== undefined && isJsonObject(items)) {
    const { description: _description, ...rest } = items;
    schema["items"] = rest;
  }
  if (!Array.isArray(schema["anyOf"])) return;
  const options = schema["anyOf"] as readonly Readonly<Record<string, unknown>>[];
  const types = options.map((item) => item["type"]);
  if (types.length === 2 && types.includes("integer") && types.includes("string")) {
    schema["format"] = "int-or-string";
    schema["x-kubernetes-int-or-string"] = true;
  }
}
