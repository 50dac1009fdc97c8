/**
 * The real kubectl against the admin API, as people use it: every command of the README and what
 * stands behind it. Needs kubectl ≥ 1.27 on PATH; what an older one cannot do is skipped by name.
 */
import assert from "node:assert/strict";
import { once } from "node:events";
import type { ChildProcessWithoutNullStreams } from "node:child_process";
import test, { after, before } from "node:test";
import { kubectlMinor, openAdmin, openKubectl } from "../support/admin.ts";
import type { Kubectl, TestAdmin } from "../support/admin.ts";

const MINOR = kubectlMinor();
const MISSING = MINOR === undefined && "kubectl is not on PATH";
const OLD = MINOR !== undefined && MINOR < 27 && `kubectl 1.${MINOR} reads OpenAPI over protobuf`;
const TIMEOUT_MS = 30_000;

const BACKEND = `apiVersion: sluice.dev/v1alpha1
kind: Backend
metadata: {name: checkout, labels: {app: shop}}
spec:
  version: "1"
  endpoints: [{ip: {address: 127.0.0.1, port: 9001}}]
`;
const CORE = `apiVersion: v1
kind: Secret
metadata: {name: clients}
data: {mobile: c2VjcmV0}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {a: "1", b: "2"}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {ports: [{port: 80, name: http}, {port: 81, name: other}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-1, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
endpoints: [{addresses: [127.0.0.1]}]
ports: [{name: http, port: 9001}]
`;

let admin: TestAdmin;
let kubectl: Kubectl;

before(async () => {
  admin = await openAdmin();
  kubectl = openKubectl(admin.url);
});
after(async () => {
  kubectl[Symbol.dispose]();
  await admin.close();
  assert.deepEqual(admin.faults, [], "the server met no fault");
});

/** Runs a command that must succeed; its standard output. */
async function ok(command: string, input?: string): Promise<string> {
  const result = await kubectl.run(words(command), input);
  assert.equal(result.code, 0, `kubectl ${command}\n${result.stderr}${result.stdout}`);
  return result.stdout;
}

/** Runs a command that must fail; its standard error. */
async function fails(command: string, input?: string): Promise<string> {
  const result = await kubectl.run(words(command), input);
  assert.notEqual(result.code, 0, `kubectl ${command} should fail\n${result.stdout}`);
  return result.stderr;
}

/** Splits at blanks outside single quotes, as a shell would. */
function words(command: string): string[] {
  return (command.match(/(?:'[^']*'|\S)+/g) ?? []).map((word) => word.replaceAll("'", ""));
}

/** Resolves once the output of a running command matches; rejects when it ends before. */
function outputMatches(child: ChildProcessWithoutNullStreams, pattern: RegExp): Promise<string> {
  let output = "";
  return new Promise((resolve, reject) => {
    const look = (chunk: Buffer): void => {
      output += chunk.toString();
      if (pattern.test(output)) resolve(output);
    };
    child.stdout.on("data", look);
    child.stderr.on("data", look);
    child.once("close", () => reject(new Error(`ended without ${String(pattern)}:\n${output}`)));
  });
}

test("apply creates, leaves alone and changes", { skip: MISSING || OLD }, async () => {
  assert.match(await ok("apply -f -", BACKEND), /backend\.sluice\.dev\/checkout created/);
  assert.match(await ok("apply -f -", BACKEND), /unchanged/);
  assert.match(await ok("apply -f -", BACKEND.replace('"1"', '"2"')), /configured/);
  const stored = admin.store.get("Backend", "default", "checkout");
  assert.equal(stored?.spec?.["version"], "2");
  assert.equal(stored?.metadata.generation, 2);
});

test("apply on Kubernetes' own kinds merges strategically", { skip: MISSING || OLD }, async () => {
  await ok("apply -f -", CORE);
  assert.doesNotMatch(await ok("apply -f -", CORE), /configured/);
  const edited = CORE.replace("port: 81, name: other", "port: 82, name: third").replace(
    ', b: "2"',
    "",
  );
  assert.match(await ok("apply -f -", edited), /service\/web configured/);
  const ports = admin.store.get("Service", "default", "web")?.spec?.["ports"];
  assert.deepEqual(
    (ports as { port: number }[]).map(({ port }) => port),
    [80, 82],
  );
  assert.deepEqual(admin.store.get("ConfigMap", "default", "settings")?.["data"], { a: "1" });
});

test("get in its formats", { skip: MISSING }, async () => {
  const table = await ok("get backends");
  assert.match(table, /^NAME +VERSION +.*AGE\ncheckout +2 /);
  assert.match(await ok("get be -o wide"), /checkout/);
  assert.equal(await ok("get be -o name"), "backend.sluice.dev/checkout\n");
  const yaml = await ok("get backend checkout -o yaml");
  assert.match(yaml, /^apiVersion: sluice\.dev\/v1alpha1\nkind: Backend\n/);
  assert.equal(JSON.parse(await ok("get backend checkout -o json")).spec.version, "2");
  assert.equal(await ok("get be checkout -o jsonpath={.spec.version}"), "2");
  assert.match(await ok("get be,svc,secrets -A"), /default +backend.*\n[^]*default +service\/web/);
  assert.match(await fails("get be nosuch"), /backends\.sluice\.dev "nosuch" not found/);
  assert.match(await fails("get nosuchkind"), /doesn't have a resource type "nosuchkind"/);
});

test("selectors", { skip: MISSING }, async () => {
  assert.equal(await ok("get be -l app=shop -o name"), "backend.sluice.dev/checkout\n");
  assert.equal(await ok("get be -l 'app notin (shop),x' -o name"), "");
  assert.equal(
    await ok("get be --field-selector metadata.name=checkout -o name"),
    "backend.sluice.dev/checkout\n",
  );
  assert.match(await fails("get be --field-selector spec.version=1"), /field label not supported/);
});

test("label, annotate and patch", { skip: MISSING }, async () => {
  await ok("label be checkout tier=front app-");
  await ok("annotate be checkout note='a b'");
  const stored = admin.store.get("Backend", "default", "checkout");
  assert.deepEqual(stored?.metadata.labels, { tier: "front" });
  assert.equal(stored?.metadata.annotations?.["note"], "a b");
  await ok(`patch be checkout --type=merge -p '{"spec":{"version":"3"}}'`);
  await ok(
    `patch be checkout --type=json -p '[{"op":"replace","path":"/spec/version","value":"4"}]'`,
  );
  assert.equal(admin.store.get("Backend", "default", "checkout")?.spec?.["version"], "4");
  await ok(`patch svc web -p '{"spec":{"ports":[{"port":80,"targetPort":9001}]}}'`);
  assert.match(
    await fails(`patch be checkout -p '{"spec":{"version":"5"}}'`),
    /strategic merge patch is not supported for Backend/,
  );
  assert.match(
    await fails(`patch be checkout --type=merge -p '{"spec":{"verson":"5"}}'`),
    /spec\.verson.*did you mean "version"/,
  );
});

test("the status subresource changes status alone", { skip: MISSING }, async () => {
  const patch = `{"spec":{"version":"99"},"status":{"conditions":[{"type":"Accepted","status":"True","reason":"Accepted"}]}}`;
  await ok(`patch be checkout --subresource=status --type=merge -p '${patch}'`);
  const stored = admin.store.get("Backend", "default", "checkout");
  assert.equal(stored?.spec?.["version"], "4");
  assert.match(await ok("get be checkout"), /True/);
  await ok(`patch be checkout --type=merge -p '{"status":{"conditions":[]}}'`);
  assert.deepEqual(admin.store.get("Backend", "default", "checkout")?.status, stored?.status);
});

test(
  "wait for a condition, a value and a deletion",
  { skip: MISSING || OLD, timeout: TIMEOUT_MS },
  async () => {
    await ok("wait --for=condition=Accepted be/checkout --timeout=10s");
    await ok("wait --for=jsonpath={.spec.version}=4 be/checkout --timeout=10s");
    const waiting = kubectl.run(
      words("wait --for=jsonpath={.spec.version}=5 be/checkout --timeout=20s"),
    );
    await ok(`patch be checkout --type=merge -p '{"spec":{"version":"5"}}'`);
    assert.equal((await waiting).code, 0);
    await ok("create configmap gone --from-literal=a=b");
    const leaving = kubectl.run(words("wait --for=delete configmap/gone --timeout=20s"));
    await ok("delete configmap gone");
    assert.equal((await leaving).code, 0);
  },
);

test("get -w follows changes", { skip: MISSING, timeout: TIMEOUT_MS }, async () => {
  const child = kubectl.start(words("get be checkout -w"));
  try {
    await outputMatches(child, /checkout +5 /);
    const changed = outputMatches(child, /checkout +6 /);
    await ok(`patch be checkout --type=merge -p '{"spec":{"version":"6"}}'`);
    await changed;
  } finally {
    const closed = once(child, "close");
    child.kill();
    await closed;
  }
});

test("describe shows fields, conditions and events", { skip: MISSING }, async () => {
  const { uid } = admin.store.get("Backend", "default", "checkout")?.metadata ?? {};
  const event = {
    apiVersion: "v1",
    kind: "Event",
    metadata: { name: "checkout.1", namespace: "default" },
    involvedObject: {
      apiVersion: "sluice.dev/v1alpha1",
      kind: "Backend",
      name: "checkout",
      namespace: "default",
      uid,
    },
    type: "Warning",
    reason: "EndpointGone",
    message: "127.0.0.1:9001 refuses connections",
    source: { component: "sluice" },
    firstTimestamp: "2026-01-01T00:00:00Z",
    lastTimestamp: "2026-01-01T00:00:00Z",
    count: 1,
  };
  await ok("create -f -", JSON.stringify(event));
  const described = await ok("describe backend checkout");
  assert.match(described, /Conditions:\n[^]*Type: +Accepted/);
  assert.match(described, /Events:\n[^]*Warning +EndpointGone .*refuses connections/);
  assert.match(await ok("get events"), /Warning +EndpointGone/);
  assert.match(await ok("events --for backend/checkout"), /EndpointGone/);
  assert.match(await ok("describe secret clients"), /mobile: +6 bytes/);
  assert.doesNotMatch(await ok("describe secret clients"), /c2VjcmV0/);
  assert.match(await ok("describe svc web"), /Endpoints: +127\.0\.0\.1/);
  assert.match(await ok("describe ns default"), /Name: +default/);
});

test("explain and api-resources", { skip: MISSING || OLD }, async () => {
  assert.match(await ok("explain backend"), /KIND: +Backend[^]*spec/);
  assert.match(await ok("explain backend.spec.endpoints"), /FIELD: endpoints/);
  assert.match(await ok("explain rollout.spec.strategy.canary.steps"), /setWeight/);
  assert.match(await ok("explain httproute --recursive"), /backendRefs/);
  const resources = await ok("api-resources");
  assert.match(resources, /backends +be +sluice\.dev\/v1alpha1 +true +Backend/);
  assert.match(await ok("api-resources --api-group=argoproj.io -o name"), /rollouts\.argoproj\.io/);
  assert.match(await ok("api-versions"), /^gateway\.networking\.k8s\.io\/v1$/m);
  assert.match(await ok("version"), /Server Version: v1\.32/);
  assert.equal((await ok("auth can-i create backends")).trim(), "yes");
});

test("older versions of a kind", { skip: MISSING || OLD }, async () => {
  const route = `apiVersion: gateway.networking.k8s.io/v1beta1
kind: HTTPRoute
metadata: {name: old}
spec: {parentRefs: [{name: edge}], rules: [{backendRefs: [{name: web, port: 80}]}]}
`;
  await ok("apply -f -", route);
  const { apiVersion } = admin.store.get("HTTPRoute", "default", "old") ?? {};
  assert.equal(apiVersion, "gateway.networking.k8s.io/v1");
  assert.match(await ok("get httproutes.v1beta1.gateway.networking.k8s.io"), /^old /m);
  await ok("delete -f -", route);
});

test("diff tells what apply would change", { skip: MISSING || OLD }, async () => {
  const version = admin.store.resourceVersion;
  const path = kubectl.file("backend.yaml", BACKEND.replace('"1"', '"42"'));
  const result = await kubectl.run(["diff", "-f", path]);
  assert.equal(result.code, 1, result.stderr);
  assert.match(result.stdout, /^\+ +version: "42"/m);
  assert.equal(admin.store.resourceVersion, version, "nothing was written");
});

test("dry run says what would be and writes nothing", { skip: MISSING || OLD }, async () => {
  const version = admin.store.resourceVersion;
  assert.match(await ok("apply --dry-run=server -f -", BACKEND), /configured \(server dry run\)/);
  assert.match(
    await ok("create --dry-run=server -f - -o name", BACKEND.replace("checkout", "cart")),
    /cart/,
  );
  await ok("delete --dry-run=server be checkout");
  assert.match(
    await fails("create --dry-run=server -f -", BACKEND.replace("port: 9001", "port: -1")),
    /port/,
  );
  assert.equal(admin.store.resourceVersion, version);
});

test("create and replace", { skip: MISSING || OLD }, async () => {
  const cart = BACKEND.replace("checkout", "cart");
  await ok("create -f -", cart);
  assert.match(await fails("create -f -", cart), /backends\.sluice\.dev "cart" already exists/);
  await ok("replace -f -", cart.replace('"1"', '"7"'));
  assert.equal(admin.store.get("Backend", "default", "cart")?.spec?.["version"], "7");
  assert.match(
    await ok("create -f -", cart.replace("name: cart", "generateName: cart-")),
    /cart-[a-z0-9]{5} created/,
  );
  const stale = cart.replace("labels:", 'resourceVersion: "1", labels:');
  assert.match(await fails("replace -f -", stale), /the object has been modified/);
});

test("the creators that send protobuf", { skip: MISSING }, async () => {
  await ok("create secret generic token --from-literal=apiKey=s3cret");
  assert.deepEqual(admin.store.get("Secret", "default", "token")?.["data"], { apiKey: "czNjcmV0" });
  await ok("create configmap words --from-literal=a=1 --from-literal=b=2");
  assert.deepEqual(admin.store.get("ConfigMap", "default", "words")?.["data"], { a: "1", b: "2" });
  await ok("create namespace shop");
  await ok("create service clusterip api --tcp=80:8080 -n shop");
  assert.deepEqual(admin.store.get("Service", "shop", "api")?.spec?.["ports"], [
    { name: "80-8080", protocol: "TCP", port: 80, targetPort: 8080 },
  ]);
});

test(
  "a List, as kubectl prints several resources, is taken back",
  { skip: MISSING || OLD },
  async () => {
    const items = ["one", "two"].map((name) => ({
      apiVersion: "v1",
      kind: "ConfigMap",
      metadata: { name: `list-${name}`, labels: { from: "list" } },
    }));
    const created = await ok(
      "create -f -",
      JSON.stringify({ apiVersion: "v1", kind: "List", items }),
    );
    assert.equal(created, "configmap/list-one created\nconfigmap/list-two created\n");
    const printed = await ok("get configmaps -l from=list -o yaml");
    assert.match(printed, /^kind: List$/m);
    await ok("delete configmaps -l from=list");
    assert.match(await ok("apply -f -", printed), /list-one created\nconfigmap\/list-two created/);
    await ok("delete configmaps -l from=list");
  },
);

test("a kind that is not served is refused by its name", { skip: MISSING || OLD }, async () => {
  for (const [document, named] of [
    [
      "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: a}\n",
      /no matches for kind "Deployment"/,
    ],
    ["apiVersion: example.com/v1\nkind: Own\nmetadata: {name: a}\n", /no matches for kind "Own"/],
  ] as const) {
    assert.match(await fails("apply -f -", document), named);
  }
});

test("what is not supported is said by name", { skip: MISSING || OLD }, async () => {
  assert.match(
    await fails("apply --server-side -f -", BACKEND),
    /server-side apply .* is not supported/,
  );
  assert.match(
    await fails("delete be checkout --cascade=orphan"),
    /propagationPolicy.*Unsupported value/,
  );
  const misspelt = BACKEND.replace("version:", "verzion:");
  assert.match(await fails("apply --validate=ignore -f -", misspelt), /spec\.verzion/);
  assert.match(await fails("delete ns default"), /namespaces "default" is forbidden/);
});

test("a warning of the server reaches the person", { skip: MISSING || OLD }, async () => {
  const result = await kubectl.run(["apply", "-n", "elsewhere", "-f", "-"], BACKEND);
  assert.equal(result.code, 0, result.stderr);
  assert.match(result.stderr, /Warning: there is no Namespace "elsewhere"/);
});

test(
  "delete by file, by label, all, and a namespace with its content",
  { skip: MISSING || OLD },
  async () => {
    await ok("delete -f -", BACKEND);
    assert.equal(admin.store.get("Backend", "default", "checkout"), undefined);
    await ok("delete be -l app=shop");
    assert.deepEqual(admin.store.list("Backend", "default"), []);
    await ok("delete secrets --all");
    assert.deepEqual(admin.store.list("Secret", "default"), []);
    await ok("delete ns shop");
    assert.equal(admin.store.get("Service", "shop", "api"), undefined);
    assert.match(await fails("delete be checkout"), /not found/);
  },
);
