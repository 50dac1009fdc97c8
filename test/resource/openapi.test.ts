/** What other programs read of the kinds: OpenAPI v3 for kubectl, a JSON Schema for editors. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { isJsonObject, type JsonObject, type JsonValue } from "../../src/base/json.ts";
import { KINDS, kindOf, kindOfApi } from "../../src/resource/kinds.ts";
import { apiPath, jsonSchema, openApiDocuments } from "../../src/resource/openapi.ts";

function at(value: JsonValue | undefined, ...path: readonly string[]): JsonValue | undefined {
  let inner = value;
  for (const part of path) inner = isJsonObject(inner) ? inner[part] : undefined;
  return inner;
}

test("kinds are found by name and by URL", () => {
  for (const definition of KINDS) {
    const { group, version, plural, kind } = definition;
    assert.equal(kindOf(kind), definition);
    assert.equal(kindOfApi(group, version, plural), definition);
  }
  assert.equal(kindOf("Pod"), undefined);
  assert.equal(kindOfApi("", "v1", "pods"), undefined);
  // The singular of endpoints is endpoints.
  const names = KINDS.flatMap(({ plural, singular, shortNames }) => [
    ...new Set([plural, singular, ...shortNames]),
  ]);
  assert.equal(new Set(names).size, names.length, "kubectl's names are unique");
});

test("every field of every kind says what it is, but for the insides of a status", () => {
  const silent: string[] = [];
  const visit = (schema: JsonValue | undefined, path: string): void => {
    if (!isJsonObject(schema) || path.includes(".status")) return;
    const alternatives = [schema["items"], schema["additionalProperties"], schema["anyOf"]].flat();
    for (const inner of alternatives) visit(inner, path);
    for (const [name, property] of Object.entries((schema["properties"] ?? {}) as JsonObject)) {
      const place = `${path}.${name}`;
      const description = at(property, "description");
      const inner = at(property, "anyOf");
      const described = Array.isArray(inner) && inner.some((item) => at(item, "description"));
      if (description === undefined && !described) silent.push(place);
      visit(property, place);
    }
  };
  const definitions = jsonSchema()["definitions"] as JsonObject;
  for (const { kind } of KINDS) visit(definitions[kind], kind);
  assert.deepEqual(silent, []);
});

test("OpenAPI has a schema and the paths of every kind", () => {
  const documents = openApiDocuments();
  for (const { group, version, kind, plural, namespaced, statusSubresource } of KINDS) {
    const path = apiPath(group, version);
    const document = JSON.parse(documents.get(path)?.text ?? "{}") as JsonObject;
    const schemas = Object.values(at(document, "components", "schemas") as JsonObject);
    const found = schemas.find((schema) => {
      const gvk = at(schema, "x-kubernetes-group-version-kind");
      return Array.isArray(gvk) && at(gvk[0] as JsonValue, "kind") === kind;
    });
    assert.ok(found, kind);
    assert.notEqual(at(found, "properties", "metadata", "properties", "labels"), undefined, kind);
    const scope = namespaced ? "/namespaces/{namespace}" : "";
    const item = `/${path}${scope}/${plural}/{name}`;
    const parameters = at(document, "paths", item, "patch", "parameters") as JsonObject[];
    assert.deepEqual(
      parameters.map((parameter) => parameter["name"]),
      ["dryRun", "fieldValidation"],
    );
    const status = at(document, "paths", `${item}/status`);
    assert.equal(status !== undefined, statusSubresource, kind);
  }
});

test("OpenAPI is the same at every start, for clients keep it by its hash", () => {
  for (const [path, { text, hash }] of openApiDocuments()) {
    assert.match(hash, /^[0-9a-f]{16}$/);
    assert.doesNotMatch(text, /9007199254740991/, path);
  }
});

test("the JSON Schema tells kinds apart and knows choices, bounds and defaults", () => {
  const schema = jsonSchema();
  assert.equal((schema["oneOf"] as JsonValue[]).length, KINDS.length);
  const route = at(schema, "definitions", "HTTPRoute");
  assert.equal(at(route, "properties", "kind", "const"), "HTTPRoute");
  assert.deepEqual(at(route, "properties", "apiVersion", "enum"), [
    "gateway.networking.k8s.io/v1",
    "gateway.networking.k8s.io/v1beta1",
  ]);
  assert.equal(at(route, "properties", "spec", "additionalProperties"), false);
  const rules = at(route, "properties", "spec", "properties", "rules", "items", "properties");
  const backend = at(rules, "backendRefs", "items", "properties");
  assert.deepEqual(
    [at(backend, "weight", "default"), at(backend, "weight", "maximum")],
    [1, 1_000_000],
  );
});
