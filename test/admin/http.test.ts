/** The admin API over HTTP: answers and refusals, as tables of requests. */
import assert from "node:assert/strict";
import { request as httpRequest } from "node:http";
import { createServer } from "node:net";
import type { AddressInfo } from "node:net";
import test from "node:test";
import { AdmissionError } from "../../src/admission/writer.ts";
import { systemClock } from "../../src/base/clock.ts";
import { openSqliteStore } from "../../src/store/sqlite.ts";
import { StoreError } from "../../src/store/store.ts";
import { ask, openAdmin } from "../support/admin.ts";
import type { RequestOptions, TestAdmin } from "../support/admin.ts";

const BACKENDS = "/apis/sluice.dev/v1alpha1/namespaces/default/backends";
const SECRETS = "/api/v1/namespaces/default/secrets";
const MERGE = "application/merge-patch+json";
const TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";

function backend(name: string, metadata: object = {}, version = "1"): Record<string, unknown> {
  const endpoints = [{ ip: { address: "127.0.0.1", port: 9001 } }];
  return {
    apiVersion: "sluice.dev/v1alpha1",
    kind: "Backend",
    metadata: { name, ...metadata },
    spec: { version, endpoints },
  };
}

interface Row {
  readonly name: string;
  readonly line: string;
  readonly options?: RequestOptions;
  readonly code: number;
  readonly reason?: string;
  readonly message?: RegExp;
}

const GENERIC = { headers: { accept: "application/vnd.kubernetes.protobuf" } };

const REFUSALS: readonly Row[] = [
  { name: "no such path", line: "GET /nope", code: 404, reason: "NotFound" },
  { name: "no such group", line: "GET /apis/nope.dev/v1/things", code: 404, reason: "NotFound" },
  {
    name: "no such version",
    line: "GET /apis/sluice.dev/v9/backends",
    code: 404,
    reason: "NotFound",
  },
  { name: "no such kind", line: "GET /api/v1/pods", code: 404, reason: "NotFound" },
  { name: "no such subresource", line: `GET ${BACKENDS}/one/scale`, code: 404, reason: "NotFound" },
  {
    name: "no status of a kind without",
    line: `GET ${SECRETS}/one/status`,
    code: 404,
    reason: "NotFound",
  },
  {
    name: "a namespaced name without namespace",
    line: "GET /apis/sluice.dev/v1alpha1/backends/one",
    code: 404,
  },
  { name: "a bad escape in the path", line: "GET /api/v1/%zz", code: 404 },
  { name: "a slash in a name", line: `GET ${BACKENDS}/a%2fb`, code: 404 },
  {
    name: "no such resource",
    line: `GET ${BACKENDS}/nosuch`,
    code: 404,
    message: /^backends\.sluice\.dev "nosuch" not found$/,
  },
  {
    name: "a method that is none here",
    line: `POST ${BACKENDS}/one`,
    code: 405,
    reason: "MethodNotAllowed",
  },
  {
    name: "deleting over all namespaces",
    line: "DELETE /apis/sluice.dev/v1alpha1/backends",
    code: 405,
  },
  { name: "a list that is put", line: `PUT ${BACKENDS}`, code: 405 },
  { name: "discovery that is posted", line: "POST /apis", code: 405 },
  {
    name: "protobuf alone",
    line: `GET ${BACKENDS}`,
    options: GENERIC,
    code: 406,
    reason: "NotAcceptable",
  },
  { name: "no body", line: `POST ${BACKENDS}`, code: 400 },
  {
    name: "not JSON",
    line: `POST ${BACKENDS}`,
    options: { body: "{" },
    code: 400,
    message: /not valid JSON/,
  },
  {
    name: "not an object",
    line: `POST ${BACKENDS}`,
    options: { body: "[]" },
    code: 400,
    message: /must be an object/,
  },
  {
    name: "a form",
    line: `POST ${BACKENDS}`,
    options: { body: "a=b", type: "application/x-www-form-urlencoded" },
    code: 415,
  },
  {
    name: "plain text",
    line: `POST ${BACKENDS}`,
    options: { body: "{}", type: "text/plain" },
    code: 415,
    reason: "UnsupportedMediaType",
  },
  {
    name: "a key given twice",
    line: `POST ${BACKENDS}`,
    options: { body: '{"a":{"b":1,"\\u0062":2}}' },
    code: 400,
    message: /duplicate field "b"/,
  },
  {
    name: "a prototype",
    line: `POST ${BACKENDS}`,
    options: { body: '{"metadata":{"__proto__":{}}}' },
    code: 400,
    message: /__proto__/,
  },
  {
    name: "too deep",
    line: `POST ${BACKENDS}`,
    options: { body: "[".repeat(100_000) + "]".repeat(100_000) },
    code: 400,
    message: /nests deeper/,
  },
  {
    name: "deep YAML",
    line: `POST ${BACKENDS}`,
    options: { body: `a: ${"[".repeat(20_000)}`, type: "application/yaml" },
    code: 400,
  },
  {
    name: "a YAML bomb",
    line: `POST ${BACKENDS}`,
    options: { body: bomb(), type: "application/yaml" },
    code: 400,
    message: /not valid YAML/,
  },
  {
    name: "too large",
    line: `POST ${BACKENDS}`,
    options: { body: `"${"x".repeat(3 * 1024 * 1024)}"` },
    code: 413,
  },
  {
    name: "another kind",
    line: `POST ${BACKENDS}`,
    options: { body: { ...backend("a"), kind: "Gateway" } },
    code: 400,
    message: /kind in the data \(Gateway\)/,
  },
  {
    name: "another version",
    line: `POST ${BACKENDS}`,
    options: { body: { ...backend("a"), apiVersion: "v1" } },
    code: 400,
    message: /API version in the data \(v1\)/,
  },
  {
    name: "another namespace",
    line: `POST ${BACKENDS}`,
    options: { body: backend("a", { namespace: "shop" }) },
    code: 400,
    message: /namespace of the provided object \(shop\)/,
  },
  {
    name: "another name",
    line: `PUT ${BACKENDS}/one`,
    options: { body: backend("two") },
    code: 400,
    message: /name of the object \(two\)/,
  },
  {
    name: "no name",
    line: `POST ${BACKENDS}`,
    options: { body: { ...backend("a"), metadata: {} } },
    code: 422,
    message: /metadata\.name/,
  },
  {
    name: "a name that is none",
    line: `POST ${BACKENDS}`,
    options: { body: backend("A_b") },
    code: 422,
    message: /metadata\.name/,
  },
  {
    name: "a version at creation",
    line: `POST ${BACKENDS}`,
    options: { body: backend("a", { resourceVersion: "1" }) },
    code: 400,
    message: /resourceVersion should not be set/,
  },
  {
    name: "finalizers",
    line: `POST ${BACKENDS}`,
    options: { body: backend("a", { finalizers: ["x/y"] }) },
    code: 422,
    message: /metadata\.finalizers.*not supported/,
  },
  {
    name: "an unknown field",
    line: `POST ${BACKENDS}?fieldValidation=Ignore`,
    options: { body: { ...backend("a"), spce: {} } },
    code: 422,
    reason: "Invalid",
    message: /spce/,
  },
  {
    name: "taken",
    line: `POST ${BACKENDS}`,
    options: { body: backend("one") },
    code: 409,
    reason: "AlreadyExists",
  },
  {
    name: "a put of nothing",
    line: `PUT ${BACKENDS}/nosuch`,
    options: { body: backend("nosuch") },
    code: 404,
  },
  {
    name: "stale",
    line: `PUT ${BACKENDS}/one`,
    options: { body: backend("one", { resourceVersion: "1" }) },
    code: 409,
    reason: "Conflict",
    message: /the object has been modified/,
  },
  {
    name: "another uid",
    line: `PUT ${BACKENDS}/one`,
    options: { body: backend("one", { uid: "x" }) },
    code: 409,
    message: /UID in precondition: x/,
  },
  {
    name: "a stale merge patch",
    line: `PATCH ${BACKENDS}/one`,
    options: { body: { metadata: { resourceVersion: "1" } }, type: MERGE },
    code: 409,
  },
  {
    name: "a patch that renames",
    line: `PATCH ${BACKENDS}/one`,
    options: { body: { metadata: { name: "two" } }, type: MERGE },
    code: 400,
  },
  {
    name: "a patch of another kind",
    line: `PATCH ${BACKENDS}/one`,
    options: { body: { kind: "Gateway" }, type: MERGE },
    code: 400,
  },
  {
    name: "a patch of nothing",
    line: `PATCH ${BACKENDS}/nosuch`,
    options: { body: {}, type: MERGE },
    code: 404,
  },
  {
    name: "a merge patch that is a list",
    line: `PATCH ${BACKENDS}/one`,
    options: { body: [], type: MERGE },
    code: 400,
  },
  {
    name: "a patch as plain JSON",
    line: `PATCH ${BACKENDS}/one`,
    options: { body: {} },
    code: 415,
    message: /json-patch/,
  },
  {
    name: "server-side apply",
    line: `PATCH ${BACKENDS}/one?fieldManager=x`,
    options: { body: "{}", type: "application/apply-patch+yaml" },
    code: 415,
    message: /server-side apply/,
  },
  {
    name: "strategic merge",
    line: `PATCH ${BACKENDS}/one`,
    options: { body: {}, type: "application/strategic-merge-patch+json" },
    code: 415,
    message: /Backend/,
  },
  {
    name: "a failing test",
    line: `PATCH ${BACKENDS}/one`,
    options: {
      body: [{ op: "test", path: "/kind", value: "x" }],
      type: "application/json-patch+json",
    },
    code: 422,
  },
  {
    name: "a bad label selector",
    line: `GET ${BACKENDS}?labelSelector=${encodeURIComponent("a b")}`,
    code: 400,
  },
  {
    name: "a bad field selector",
    line: `GET ${BACKENDS}?fieldSelector=spec.version%3D1`,
    code: 400,
  },
  { name: "a bad limit", line: `GET ${BACKENDS}?limit=-1`, code: 400 },
  { name: "a bad continue", line: `GET ${BACKENDS}?limit=1&continue=x`, code: 400 },
  {
    name: "a continue of long ago",
    line: `GET ${BACKENDS}?limit=1&continue=abc.1`,
    code: 410,
    reason: "Expired",
  },
  {
    name: "a version that is yet to come",
    line: `GET ${BACKENDS}?resourceVersion=999999`,
    code: 410,
  },
  { name: "a bad dryRun", line: `DELETE ${BACKENDS}/one?dryRun=Some`, code: 400 },
  {
    name: "orphans",
    line: `DELETE ${BACKENDS}/one`,
    options: { body: { propagationPolicy: "Orphan" } },
    code: 422,
    message: /propagationPolicy/,
  },
  {
    name: "another uid to delete",
    line: `DELETE ${BACKENDS}/one`,
    options: { body: { preconditions: { uid: "x" } } },
    code: 409,
  },
  {
    name: "another version to delete",
    line: `DELETE ${BACKENDS}/one`,
    options: { body: { preconditions: { resourceVersion: "1" } } },
    code: 409,
  },
  {
    name: "an unknown option to delete",
    line: `DELETE ${BACKENDS}/one`,
    options: { body: { force: true } },
    code: 400,
    message: /force/,
  },
  {
    name: "the namespace default",
    line: "DELETE /api/v1/namespaces/default",
    code: 403,
    reason: "Forbidden",
  },
  {
    name: "a watch with a bad version",
    line: `GET ${BACKENDS}?watch=1&resourceVersion=x`,
    code: 400,
  },
  {
    name: "initial events without match",
    line: `GET ${BACKENDS}?watch=1&sendInitialEvents=true`,
    code: 400,
  },
  {
    name: "no review",
    line: "POST /apis/authorization.k8s.io/v1/selfsubjectaccessreviews",
    options: { body: {} },
    code: 400,
  },
  {
    name: "protobuf that is none",
    line: `POST ${SECRETS}`,
    options: { body: "k8s", type: "application/vnd.kubernetes.protobuf" },
    code: 400,
  },
];

function bomb(): string {
  const lines = ["a0: &a0 [x, x]"];
  for (let index = 1; index < 30; index++) {
    lines.push(`a${index}: &a${index} [*a${index - 1}, *a${index - 1}]`);
  }
  return lines.join("\n");
}

test("every refusal is a Status that names its reason", async (t) => {
  await using admin = await openAdmin();
  assert.equal((await ask(admin, `POST ${BACKENDS}`, { body: backend("one") })).status, 201);
  const version = admin.store.resourceVersion;
  for (const { name, line, options, code, reason, message } of REFUSALS) {
    await t.test(name, async () => {
      const { status, body, text } = await ask(admin, line, options);
      assert.equal(status, code, text);
      assert.equal(body["kind"], "Status");
      assert.equal(body["status"], "Failure");
      assert.equal(body["code"], code);
      if (reason !== undefined) assert.equal(body["reason"], reason);
      if (message !== undefined) assert.match(String(body["message"]), message);
    });
  }
  assert.equal(admin.store.resourceVersion, version, "nothing was written");
  assert.deepEqual(admin.faults, [], "no refusal is a fault");
});

test("an invalid document is told with every cause", async () => {
  await using admin = await openAdmin();
  const document = {
    ...backend("a"),
    spec: { versoin: "1", endpoints: [{ ip: { address: "x", port: 0 } }] },
  };
  const { status, body } = await ask(admin, `POST ${BACKENDS}`, { body: document });
  assert.equal(status, 422);
  const { causes, kind, name } = body["details"] as {
    causes: { field: string }[];
    kind: string;
    name: string;
  };
  assert.equal(kind, "Backend");
  assert.equal(name, "a");
  const fields = causes.map((cause) => cause.field);
  assert.ok(
    fields.some((field) => field.startsWith("spec.versoin")),
    fields.join(),
  );
  assert.ok(
    fields.some((field) => field.includes("port")),
    fields.join(),
  );
});

test("no answer repeats a Secret's value", async () => {
  await using admin = await openAdmin();
  const value = "hunter2hunter2";
  const bodies: readonly RequestOptions[] = [
    { body: { metadata: { name: "a" }, data: { key: `${value}!` } } },
    { body: { metadata: { name: "a" }, stringData: { "bad key": value } } },
    { body: { metadata: { name: "a" }, stringData: { key: [value] } } },
    { body: `{"metadata":{"name":"a"},"stringData":{"key":"${value}"` },
    { body: `metadata: {name: a}\nstringData: {key: "${value}`, type: "application/yaml" },
  ];
  for (const options of bodies) {
    const { status, text } = await ask(admin, `POST ${SECRETS}`, options);
    assert.ok(status >= 400 && status < 500, text);
    assert.ok(!text.includes("hunter2"), text);
  }
});

test("create, read, update, patch and delete", async () => {
  await using admin = await openAdmin();
  const created = await ask(admin, `POST ${BACKENDS}`, {
    body: backend("one", { labels: { a: "b" } }),
  });
  assert.equal(created.status, 201);
  const { uid, resourceVersion } = created.body["metadata"] as Record<string, string>;
  assert.deepEqual((await ask(admin, `GET ${BACKENDS}/one`)).body, created.body);
  const update = { ...backend("one", { uid, resourceVersion }, "2"), status: { conditions: [] } };
  const updated = await ask(admin, `PUT ${BACKENDS}/one`, { body: update });
  assert.equal(updated.status, 200, updated.text);
  assert.equal((updated.body["metadata"] as { generation: number }).generation, 2);
  assert.equal(updated.body["status"], undefined, "status is not written with the rest");
  const unpinned = await ask(admin, `PUT ${BACKENDS}/one`, { body: backend("one", {}, "3") });
  assert.equal(unpinned.status, 200);
  const status = { conditions: [{ type: "Accepted", status: "True" }] };
  const put = await ask(admin, `PUT ${BACKENDS}/one/status`, {
    body: { ...backend("one"), status },
  });
  assert.deepEqual(put.body["status"], status);
  assert.equal(
    (put.body["spec"] as { version: string }).version,
    "3",
    "the spec is not written with status",
  );
  const yaml = "spec:\n  version: '4'\n  endpoints: [{ip: {address: 127.0.0.1, port: 1}}]\n";
  const fromYaml = await ask(admin, `PUT ${BACKENDS}/one`, {
    body: yaml,
    type: "application/yaml",
  });
  assert.equal((fromYaml.body["spec"] as { version: string }).version, "4");
  assert.deepEqual(fromYaml.body["status"], status, "status stays");
  const gone = await ask(admin, `DELETE ${BACKENDS}/one`, { body: { preconditions: { uid } } });
  assert.equal(gone.status, 200);
  assert.deepEqual(gone.body["details"], {
    name: "one",
    group: "sluice.dev",
    kind: "backends",
    uid,
  });
  assert.equal((await ask(admin, `GET ${BACKENDS}/one`)).status, 404);
});

test("a document of the wrong spec in status does not pass, nor does it in a patch", async () => {
  await using admin = await openAdmin();
  await ask(admin, `POST ${BACKENDS}`, { body: backend("one") });
  const body = { status: { conditions: [{ type: "A", status: "Maybe" }] } };
  const { status, text } = await ask(admin, `PATCH ${BACKENDS}/one/status`, { body, type: MERGE });
  assert.equal(status, 422, text);
  assert.match(text, /status\.conditions\[0\]\.status/);
});

test("concurrent patches all land", async () => {
  await using admin = await openAdmin();
  await ask(admin, `POST ${BACKENDS}`, { body: backend("one") });
  const patches = Array.from({ length: 4 }, (_, index) =>
    ask(admin, `PATCH ${BACKENDS}/one`, {
      body: { metadata: { labels: { [`l${index}`]: "x" } } },
      type: MERGE,
    }),
  );
  for (const { status, text } of await Promise.all(patches)) assert.equal(status, 200, text);
  const labels = admin.store.get("Backend", "default", "one")?.metadata.labels;
  assert.deepEqual(Object.keys(labels ?? {}).toSorted(), ["l0", "l1", "l2", "l3"]);
});

test("generated names, and what dryRun shows", async () => {
  await using admin = await openAdmin();
  const body = { ...backend("x"), metadata: { generateName: "be-" } };
  const first = await ask(admin, `POST ${BACKENDS}`, { body });
  assert.match((first.body["metadata"] as { name: string }).name, /^be-[b-z2-9]{5}$/);
  const version = admin.store.resourceVersion;
  const dry = await ask(admin, `POST ${BACKENDS}?dryRun=All`, { body });
  assert.equal(dry.status, 201);
  assert.match((dry.body["metadata"] as { uid: string }).uid, /-/);
  const path = `${BACKENDS}/${(first.body["metadata"] as { name: string }).name}`;
  const patched = await ask(admin, `PATCH ${path}?dryRun=All`, {
    body: { spec: { version: "9" } },
    type: MERGE,
  });
  assert.equal((patched.body["spec"] as { version: string }).version, "9");
  assert.equal((await ask(admin, `DELETE ${path}`, { body: { dryRun: ["All"] } })).status, 200);
  assert.equal(admin.store.resourceVersion, version);
});

test("tables, metadata alone, and older versions of a kind", async () => {
  await using admin = await openAdmin();
  await ask(admin, `POST ${BACKENDS}`, { body: backend("one") });
  const table = await ask(admin, `GET ${BACKENDS}?includeObject=Object`, {
    headers: { accept: TABLE },
  });
  assert.equal(table.body["kind"], "Table");
  const [row] = table.body["rows"] as { cells: unknown[]; object: { kind: string } }[];
  assert.equal(row?.cells[0], "one");
  assert.equal(row?.object.kind, "Backend");
  const columns = table.body["columnDefinitions"] as { name: string }[];
  assert.equal(columns.length, row?.cells.length);
  assert.deepEqual([columns[0]?.name, columns.at(-1)?.name], ["Name", "Age"]);
  const accept =
    "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io,application/json";
  const metadata = await ask(admin, `GET ${BACKENDS}`, { headers: { accept } });
  assert.equal(metadata.body["kind"], "PartialObjectMetadataList");
  const [item] = metadata.body["items"] as Record<string, unknown>[];
  assert.equal(item?.["spec"], undefined);
  const routes = "/apis/gateway.networking.k8s.io/v1beta1/namespaces/default/httproutes";
  const route = { metadata: { name: "r" }, spec: { parentRefs: [{ name: "edge" }] } };
  const created = await ask(admin, `POST ${routes}`, { body: route });
  assert.equal(created.status, 201, created.text);
  assert.equal(created.body["apiVersion"], "gateway.networking.k8s.io/v1beta1");
  const stored = admin.store.get("HTTPRoute", "default", "r");
  assert.equal(stored?.apiVersion, "gateway.networking.k8s.io/v1");
});

test("deleting a collection, and a namespace with its content", async () => {
  await using admin = await openAdmin();
  for (const [name, app] of [
    ["a", "x"],
    ["b", "x"],
    ["c", "y"],
  ] as const) {
    await ask(admin, `POST ${BACKENDS}`, { body: backend(name, { labels: { app } }) });
  }
  const deleted = await ask(admin, `DELETE ${BACKENDS}?labelSelector=app%3Dx`);
  assert.equal((deleted.body["items"] as unknown[]).length, 2);
  assert.deepEqual(
    admin.store.list("Backend").map(({ metadata }) => metadata.name),
    ["c"],
  );
  await ask(admin, "POST /api/v1/namespaces", { body: { metadata: { name: "shop" } } });
  const inShop = "/apis/sluice.dev/v1alpha1/namespaces/shop/backends";
  await ask(admin, `POST ${inShop}`, { body: backend("s") });
  await ask(admin, "POST /api/v1/namespaces/shop/secrets", { body: { metadata: { name: "s" } } });
  assert.equal((await ask(admin, "DELETE /api/v1/namespaces/shop")).status, 200);
  assert.deepEqual(
    [...admin.store.list("Backend", "shop"), ...admin.store.list("Secret", "shop")],
    [],
  );
  assert.deepEqual(
    admin.store.list("Backend").map(({ metadata }) => metadata.name),
    ["c"],
  );
});

test("rules and disks that refuse", async () => {
  let failure: Error = new AdmissionError("Cannot delete while a rollout is under way");
  await using admin = await openAdmin({
    rules: [
      (change) => {
        if (change.op === "delete") throw failure;
        return { additions: [], warnings: ['a "quoted" warning\r\nEvil: 1 č'] };
      },
    ],
  });
  const created = await ask(admin, `POST ${BACKENDS}`, { body: backend("one") });
  assert.equal(created.headers.get("warning"), String.raw`299 - "a \"quoted\" warning??Evil: 1 ?"`);
  const refused = await ask(admin, `DELETE ${BACKENDS}/one`);
  assert.equal(refused.status, 403);
  assert.match(refused.text, /backends\.sluice\.dev \\"one\\" is forbidden: Cannot delete while/);
  failure = new StoreError("Unavailable", "the disk is full");
  const full = await ask(admin, `DELETE ${BACKENDS}/one`);
  assert.deepEqual([full.status, full.body["reason"]], [503, "ServiceUnavailable"]);
  failure = new TypeError("secret detail");
  const fault = await ask(admin, `DELETE ${BACKENDS}/one`);
  assert.deepEqual([fault.status, fault.body["reason"]], [500, "InternalError"]);
  assert.ok(!fault.text.includes("secret detail"));
  assert.match(
    admin.faults.splice(0).join(),
    /DELETE .*\/backends\/one failed: TypeError: secret detail/,
  );
});

test("an abort is in force even on a full disk, and nothing else is", async () => {
  const store = openSqliteStore({ path: ":memory:", clock: systemClock, pagesMax: 100 });
  await using admin = await openAdmin({ store });
  const rollouts = "/apis/argoproj.io/v1alpha1/namespaces/default/rollouts";
  const workloadRef = { apiVersion: "sluice.dev/v1alpha1", kind: "Backend", name: "one" };
  const spec = { workloadRef, strategy: { canary: { steps: [{ setWeight: 5 }] } } };
  const made = await ask(admin, `POST ${rollouts}`, { body: { metadata: { name: "one" }, spec } });
  assert.equal(made.status, 201, made.text);
  const configMaps = "/api/v1/namespaces/default/configmaps";
  // Ever smaller, so that not even a status finds room in the end.
  for (const length of [20_000, 2000, 200, 1]) {
    let status = 201;
    for (let index = 0; status === 201; index++) {
      const body = {
        metadata: { name: `m${length}-${index}` },
        data: { text: "x".repeat(length) },
      };
      status = (await ask(admin, `POST ${configMaps}`, { body })).status;
    }
    assert.equal(status, 503);
  }
  const body = { status: { abort: true } };
  const aborted = await ask(admin, `PATCH ${rollouts}/one/status`, { body, type: MERGE });
  assert.equal(aborted.status, 200, aborted.text);
  assert.match(aborted.headers.get("warning") ?? "", /the disk refuses writes/);
  assert.equal(admin.store.get("Rollout", "default", "one")?.status?.["abort"], true);
});

test("pages are of one moment", async () => {
  await using admin = await openAdmin();
  for (const name of ["a", "b", "c", "d", "e"])
    await ask(admin, `POST ${BACKENDS}`, { body: backend(name) });
  const first = await ask(admin, `GET ${BACKENDS}?limit=2`);
  const meta = first.body["metadata"] as Record<string, unknown>;
  assert.equal(meta["remainingItemCount"], 3);
  await ask(admin, `DELETE ${BACKENDS}/c`);
  await ask(admin, `POST ${BACKENDS}`, { body: backend("bb") });
  const names = (items: unknown): string[] =>
    (items as { metadata: { name: string } }[]).map(({ metadata }) => metadata.name);
  const second = await ask(admin, `GET ${BACKENDS}?limit=2&continue=${String(meta["continue"])}`);
  assert.deepEqual(names(second.body["items"]), ["c", "d"]);
  const next = second.body["metadata"] as Record<string, unknown>;
  assert.equal(next["resourceVersion"], meta["resourceVersion"]);
  const third = await ask(admin, `GET ${BACKENDS}?limit=2&continue=${String(next["continue"])}`);
  assert.deepEqual(names(third.body["items"]), ["e"]);
  assert.equal((third.body["metadata"] as Record<string, unknown>)["continue"], undefined);
  const other = await ask(admin, `GET ${SECRETS}?limit=2&continue=${String(meta["continue"])}`);
  assert.equal(other.status, 400, "a token is good for its own list alone");
  assert.deepEqual(names((await ask(admin, `GET ${BACKENDS}`)).body["items"]), [
    "a",
    "b",
    "bb",
    "d",
    "e",
  ]);
});

test("health, readiness, metrics and OpenAPI", async () => {
  let ok = true;
  await using admin = await openAdmin({ ready: () => ({ ok, reasons: ok ? [] : ["no worker"] }) });
  assert.equal((await ask(admin, "GET /healthz")).text, "ok");
  assert.equal((await ask(admin, "GET /readyz")).status, 200);
  ok = false;
  const unready = await ask(admin, "GET /readyz");
  assert.equal(unready.status, 503);
  assert.match(unready.text, /no worker/);
  const metrics = await ask(admin, "GET /metrics");
  assert.equal(metrics.text, "up 1\n");
  assert.match(metrics.headers.get("content-type") ?? "", /version=0\.0\.4/);
  const root = await ask(admin, "GET /openapi/v3");
  const paths = root.body["paths"] as Record<string, { serverRelativeURL: string }>;
  const { serverRelativeURL } = paths["apis/sluice.dev/v1alpha1"] ?? { serverRelativeURL: "" };
  const document = await ask(admin, `GET ${serverRelativeURL}`);
  assert.match(document.headers.get("cache-control") ?? "", /immutable/);
  const etag = document.headers.get("etag") ?? "";
  const again = await ask(admin, `GET ${serverRelativeURL}`, {
    headers: { "if-none-match": etag },
  });
  assert.equal(again.status, 304);
  const v2 = await ask(admin, "GET /openapi/v2");
  assert.deepEqual([v2.body["swagger"], v2.body["paths"]], ["2.0", {}]);
});

test("a huge YAML body is refused in time, a key that stands twice by its name", async () => {
  await using admin = await openAdmin();
  const type = "application/yaml";
  const keys = Array.from({ length: 200_000 }, (_, index) => `k${index}:`).join("\n");
  const huge = await ask(admin, `POST ${BACKENDS}`, { body: keys, type });
  assert.equal(huge.status, 422);
  assert.ok(huge.text.length < 100_000, `${huge.text.length} characters`);
  const twice = await ask(admin, `POST ${BACKENDS}`, { body: "spec: {}\nspec: {}\n", type });
  assert.equal(twice.status, 400);
  assert.match(String(twice.body["message"]), /2:1: Map keys must be unique: "spec"/);
});

/** One GET with headers that fetch would not let through. */
function rawStatus(admin: TestAdmin, headers: Readonly<Record<string, string>>): Promise<number> {
  return new Promise((resolve, reject) => {
    const request = httpRequest({ host: "127.0.0.1", port: admin.port, path: "/version", headers });
    request.once("error", reject);
    request.once("response", (response) => {
      response.resume();
      resolve(response.statusCode ?? 0);
    });
    request.end();
  });
}

test("foreign hosts and origins are refused", async () => {
  await using admin = await openAdmin();
  const port = String(admin.port);
  const rows: readonly (readonly [Readonly<Record<string, string>>, number])[] = [
    [{ host: `127.0.0.1:${port}` }, 200],
    [{ host: `localhost:${port}` }, 200],
    [{ host: `LOCALHOST:${port}` }, 200],
    [{ host: `[::1]:${port}` }, 200],
    [{ host: "127.0.0.1" }, 200],
    [{ host: "evil.example" }, 403],
    [{ host: `evil.example:${port}` }, 403],
    [{ host: "localhost.evil.example" }, 403],
    [{ host: "127.0.0.1.evil.example" }, 403],
    [{ host: "127.0.0.1@evil.example" }, 403],
    [{ host: `localhost:${port}`, origin: `http://localhost:${port}` }, 200],
    [{ host: `localhost:${port}`, origin: "https://evil.example" }, 403],
    [{ host: `localhost:${port}`, origin: "http://localhost:1" }, 403],
    [{ host: `localhost:${port}`, origin: "null" }, 403],
  ];
  for (const [headers, status] of rows) {
    assert.equal(await rawStatus(admin, headers), status, JSON.stringify(headers));
  }
});

test("addresses that cannot be had are refused by name", async () => {
  await assert.rejects(
    openAdmin({ host: "0.0.0.0" }),
    /Cannot serve the admin API on 0\.0\.0\.0: only loopback/,
  );
  await assert.rejects(openAdmin({ host: "192.0.2.1" }), /only loopback addresses/);
  const holder = createServer();
  await new Promise<void>((resolve) => holder.listen(0, "127.0.0.1", resolve));
  const { port } = holder.address() as AddressInfo;
  try {
    await assert.rejects(
      openAdmin({ port }),
      new RegExp(
        `Cannot serve the admin API on 127\\.0\\.0\\.1:${port}: the address is already in use`,
      ),
    );
  } finally {
    await new Promise((resolve) => holder.close(resolve));
  }
});
