/**
 * What Gateway API's conformance tests ask of statuses: reasons of routes and listeners, counts of
 * attached routes, kinds, generations; and the Services that a route may name.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { compile } from "../../src/compile/compile.ts";
import type { ListenerStatusDraft, StatusDraft } from "../../src/compile/compiled.ts";
import { SUPPORTED_FEATURES } from "../../src/compile/features.ts";
import { readFilters } from "../../src/compile/filters.ts";
import type { FilterInput } from "../../src/compile/filters.ts";
import { problemsOf } from "../../src/compile/problems.ts";
import type { Filters, PoolPart } from "../../src/compile/program.ts";
import { mergeStatus } from "../../src/compile/status.ts";
import type { HttpFilter } from "../../src/resource/http-filter.ts";
import type { ConditionDraft, ResourceDraft } from "../../src/resource/resource.ts";
import { ResourceSet } from "./resource-set.ts";

const NOW = "2026-01-01T00:00:00Z";
const SERVICE = `
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {ports: [{port: 80}]}
`;

function gateway(name: string, listeners: string): string {
  return (
    `\napiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {name: ${name}}\n` +
    `spec: {gatewayClassName: sluice, listeners: [${listeners}]}\n`
  );
}

function route(name: string, parents: string, more = "", namespace = "default"): string {
  return (
    "\napiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\n" +
    `metadata: {name: ${name}, namespace: ${namespace}}\n` +
    `spec: {parentRefs: [${parents}], rules: [{backendRefs: [{name: web, port: 80}]}]${more}}\n`
  );
}

function draftOf(set: ResourceSet, kind: string, name: string): StatusDraft {
  const found = compile(set).statuses.find(({ key }) => key.kind === kind && key.name === name);
  assert.ok(found, `${kind} ${name} has no status`);
  return found;
}

/** "Accepted=False NotAllowedByListeners" of each parent, in the order of the references. */
function acceptedOf(set: ResourceSet, name: string): readonly string[] {
  return (draftOf(set, "HTTPRoute", name).parents ?? []).map((parent) =>
    textOf(parent.conditions, "Accepted"),
  );
}

function textOf(conditions: readonly ConditionDraft[], type: string): string {
  const found = conditions.find((condition) => condition.type === type);
  return `${type}=${found?.status} ${found?.reason}`;
}

function listenersOf(set: ResourceSet, name: string): readonly ListenerStatusDraft[] {
  return draftOf(set, "Gateway", name).listeners ?? [];
}

const ATTACHMENTS: readonly [name: string, listeners: string, parent: string, reason: string][] = [
  ["a listener that takes it", "{name: a, protocol: HTTP, port: 80}", "", "True Accepted"],
  [
    "a listener for another kind, of a protocol that is not served",
    "{name: a, protocol: TLS, port: 443, tls: {mode: Passthrough}, " +
      "allowedRoutes: {kinds: [{kind: TLSRoute}]}}",
    "",
    "False NotAllowedByListeners",
  ],
  [
    "a listener for a kind that there is not",
    "{name: a, protocol: HTTP, port: 80, allowedRoutes: {kinds: [{kind: InvalidRoute}]}}",
    "",
    "False NotAllowedByListeners",
  ],
  [
    "a listener for no namespace",
    "{name: a, protocol: HTTP, port: 80, allowedRoutes: {namespaces: {from: None}}}",
    "",
    "False NotAllowedByListeners",
  ],
  [
    "a listener that would take it, but is not served",
    "{name: a, protocol: HTTPS, port: 443, tls: {certificateRefs: [{name: c}]}}, " +
      "{name: b, protocol: HTTP, port: 80, allowedRoutes: {namespaces: {from: None}}}",
    "",
    "False NoMatchingParent",
  ],
  [
    "no listener of the name",
    "{name: a, protocol: HTTP, port: 80}",
    ", sectionName: b",
    "False NoMatchingParent",
  ],
  [
    "no listener on the port",
    "{name: a, protocol: HTTP, port: 80}",
    ", port: 81",
    "False NoMatchingParent",
  ],
  [
    "a listener of the name on another port",
    "{name: a, protocol: HTTP, port: 80}, {name: b, protocol: HTTP, port: 81}",
    ", sectionName: a, port: 81",
    "False NoMatchingParent",
  ],
  [
    "no common hostname",
    "{name: a, protocol: HTTP, port: 80, hostname: b.example}",
    "",
    "False NoMatchingListenerHostname",
  ],
];

for (const [name, listeners, parent, reason] of ATTACHMENTS) {
  test(`a route meets ${name}`, () => {
    const hostnames = ", hostnames: [a.example]";
    const set = ResourceSet.parse(
      [SERVICE, gateway("edge", listeners), route("r", `{name: edge${parent}}`, hostnames)].join(
        "---",
      ),
    );
    assert.deepEqual(acceptedOf(set, "r"), [`Accepted=${reason}`]);
    const attached = listenersOf(set, "edge").map((listener) => listener.attachedRoutes);
    // A route that a listener takes counts there, whether the listener is served or not.
    const isTaken = reason.startsWith("True") || name.includes("would take it");
    assert.equal(Math.max(...attached), isTaken ? 1 : 0);
    const [parentStatus] = draftOf(set, "HTTPRoute", "r").parents ?? [];
    const resolved = textOf(parentStatus?.conditions ?? [], "ResolvedRefs");
    assert.equal(resolved, "ResolvedRefs=True ResolvedRefs");
  });
}

test("a route counts at listeners that take it and are not served, beside one that is", () => {
  const tls = "tls: {certificateRefs: [{name: none}]}";
  const listeners =
    `{name: a, protocol: HTTP, port: 80}, {name: b, protocol: HTTPS, port: 443, ${tls}}, ` +
    `{name: c, protocol: HTTPS, port: 444, hostname: c.example, ${tls}}, ` +
    `{name: d, protocol: HTTPS, port: 445, ${tls}, allowedRoutes: {namespaces: {from: None}}}, ` +
    "{name: e, protocol: TCP, port: 446}";
  const set = ResourceSet.parse(
    [gateway("edge", listeners), route("r", "{name: edge}", ", hostnames: [b.example]")].join(
      "---",
    ),
  );
  assert.deepEqual(acceptedOf(set, "r"), ["Accepted=True Accepted"]);
  const counts = listenersOf(set, "edge").map(({ name, attachedRoutes }) => [name, attachedRoutes]);
  assert.deepEqual(Object.fromEntries(counts), { a: 1, b: 1, c: 0, d: 0, e: 0 });
});

test("a route of another namespace is not allowed where none but one's own are", () => {
  const listeners =
    "{name: a, protocol: HTTP, port: 80}, " +
    "{name: b, protocol: HTTP, port: 81, allowedRoutes: {namespaces: {from: Selector, selector: " +
    "{matchLabels: {kubernetes.io/metadata.name: shop}}}}}";
  const set = ResourceSet.parse(
    [
      gateway("edge", listeners),
      route("r", "{name: edge, namespace: default, sectionName: a}", "", "shop"),
      route("s", "{name: edge, namespace: default}", "", "shop"),
      route("t", "{name: edge}"),
    ].join("---"),
  );
  assert.deepEqual(acceptedOf(set, "r"), ["Accepted=False NotAllowedByListeners"]);
  assert.deepEqual(acceptedOf(set, "s"), ["Accepted=True Accepted"]);
  const counts = listenersOf(set, "edge").map((listener) => listener.attachedRoutes);
  assert.deepEqual(counts, [1, 1]);
});

test("kinds and protocols that are not served are said on the listener", () => {
  const set = ResourceSet.parse(
    [
      gateway(
        "kinds",
        "{name: a, protocol: HTTP, port: 80, allowedRoutes: {kinds: [{kind: InvalidRoute}]}}, " +
          "{name: b, protocol: HTTP, port: 81, allowedRoutes: {kinds: [{kind: InvalidRoute}, " +
          "{kind: HTTPRoute}]}}",
      ),
      gateway("protocol", "{name: a, protocol: INVALID, port: 1111}"),
      gateway("both", "{name: a, protocol: HTTP, port: 82}, {name: b, protocol: INVALID, port: 1}"),
    ].join("---"),
  );
  const [none, one] = listenersOf(set, "kinds");
  assert.deepEqual(none?.supportedKinds, []);
  assert.deepEqual(one?.supportedKinds, [
    { group: "gateway.networking.k8s.io", kind: "HTTPRoute" },
  ]);
  for (const listener of [none, one]) {
    const text = textOf(listener?.conditions ?? [], "ResolvedRefs");
    assert.equal(text, "ResolvedRefs=False InvalidRouteKinds");
  }
  const [invalid] = listenersOf(set, "protocol");
  assert.deepEqual(invalid?.supportedKinds, []);
  assert.equal(textOf(invalid.conditions, "Accepted"), "Accepted=False UnsupportedProtocol");
  const summed = ["protocol", "both"].map((name) =>
    textOf(draftOf(set, "Gateway", name).conditions ?? [], "Accepted"),
  );
  assert.deepEqual(summed, ["Accepted=False ListenersNotValid", "Accepted=True ListenersNotValid"]);
});

test("a Gateway that only waits for its certificates is pending, and no problem", () => {
  const edge = gateway(
    "edge",
    "{name: a, protocol: HTTPS, port: 443, hostname: a.example, tls: {certificateRefs: [{name: a}]}}",
  ).replace("name: edge}", "name: edge, annotations: {cert-manager.io/issuer: ca}}");
  const set = ResourceSet.parse([edge, route("r", "{name: edge}")].join("---"));
  const { conditions = [] } = draftOf(set, "Gateway", "edge");
  assert.equal(textOf(conditions, "Programmed"), "Programmed=False Pending");
  const problems = problemsOf(compile(set)).filter(({ resource }) => resource.kind === "Gateway");
  assert.deepEqual(problems, []);
});

test("each feature is listed once: a GatewayClass keys them by their names", () => {
  assert.deepEqual(SUPPORTED_FEATURES, [...new Set(SUPPORTED_FEATURES)].toSorted());
});

test("listeners that come and go take their routes with them", () => {
  const one = "{name: http, protocol: HTTP, port: 80}";
  const two = `${one}, {name: data, protocol: HTTP, port: 80, hostname: data.example}`;
  const set = ResourceSet.parse(
    [SERVICE, gateway("edge", one), route("r", "{name: edge}")].join("---"),
  );
  const counts = (): readonly (readonly [string, number])[] =>
    listenersOf(set, "edge").map((listener) => [listener.name, listener.attachedRoutes]);
  assert.deepEqual(counts(), [["http", 1]]);
  const replace = (listeners: string): void => {
    const draft = ResourceSet.parse(gateway("edge", listeners)).get("Gateway", "default", "edge");
    const { generation: _generation, ...metadata } = (draft as ResourceDraft).metadata;
    set.apply({ ...(draft as ResourceDraft), metadata });
  };
  replace(two);
  assert.deepEqual(counts(), [
    ["http", 1],
    ["data", 1],
  ]);
  assert.equal(draftOf(set, "Gateway", "edge").generation, 2);
  replace(one);
  assert.deepEqual(counts(), [["http", 1]]);
});

test("conditions of others stay on a Gateway and on its listeners", () => {
  const set = ResourceSet.parse(gateway("edge", "{name: http, protocol: HTTP, port: 80}"));
  const foreign = { type: "example.com/Own", status: "True", lastTransitionTime: NOW };
  const resource = set.get("Gateway", "default", "edge");
  assert.ok(resource);
  const status = { conditions: [foreign], listeners: [{ name: "http", conditions: [foreign] }] };
  const merged = mergeStatus({ ...resource, status }, draftOf(set, "Gateway", "edge"), NOW) as {
    conditions: { type: string }[];
    listeners: { conditions: { type: string }[] }[];
  };
  for (const conditions of [merged.conditions, merged.listeners[0]?.conditions ?? []]) {
    assert.deepEqual(
      conditions.find(({ type }) => type === foreign.type),
      foreign,
    );
  }
});

/** EndpointSlices of a Service, and where its port 8080 leads. */
const SLICES: readonly [name: string, service: string, slice: string, endpoints: string[]][] = [
  [
    "a port by name",
    "ports: [{name: first, port: 8080, targetPort: 3000}]",
    "ports: [{name: first, port: 3000, protocol: TCP}], endpoints: [{addresses: [10.0.0.1]}]",
    ["10.0.0.1:3000"],
  ],
  [
    "a headless Service",
    "clusterIP: None, ports: [{name: first, port: 8080, targetPort: 3000}]",
    "ports: [{name: first, port: 3000}], endpoints: [{addresses: [10.0.0.1]}, " +
      "{addresses: [10.0.0.2], conditions: {ready: true, serving: true, terminating: false}}]",
    ["10.0.0.1:3000", "10.0.0.2:3000"],
  ],
  [
    "a headless Service with a selector",
    "clusterIP: None, selector: {app: a}, ports: [{port: 8080, targetPort: 3000}]",
    "ports: [{name: '', port: 3000}], endpoints: [{addresses: [10.0.0.1]}]",
    ["10.0.0.1:3000"],
  ],
  [
    "an endpoint that is not ready",
    "ports: [{port: 8080}]",
    "ports: [{port: 3000}], endpoints: [{addresses: [10.0.0.1], conditions: {ready: false}}]",
    [],
  ],
  [
    "an endpoint of unknown state",
    "ports: [{port: 8080}]",
    "ports: [{port: 3000}], endpoints: [{addresses: [10.0.0.1], conditions: {ready: null}}]",
    ["10.0.0.1:3000"],
  ],
  ["no endpoint", "ports: [{port: 8080}]", "ports: [{port: 3000}], endpoints: []", []],
  ["endpoints left out", "ports: [{port: 8080}]", "ports: [{port: 3000}]", []],
];

for (const [name, service, slice, wanted] of SLICES) {
  test(`a Service leads to its EndpointSlices: ${name}`, () => {
    const set = ResourceSet.parse(
      [
        `apiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec: {${service}}\n`,
        "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {name: web-1, " +
          `labels: {kubernetes.io/service-name: web}}\naddressType: IPv4\n` +
          slice.replace(/, endpoints:/, "\nendpoints:") +
          "\n",
        gateway("edge", "{name: a, protocol: HTTP, port: 80}"),
        route("r", "{name: edge}").replace("port: 80}", "port: 8080}"),
      ].join("---\n"),
    );
    const { parts } = compile(set);
    const pools = [...parts.values()].filter((part): part is PoolPart => part.type === "pool");
    const found = pools.flatMap((pool) =>
      pool.endpoints.map((one) => ("host" in one ? `${one.host}:${one.port}` : one.unixPath)),
    );
    assert.deepEqual(found, wanted);
  });
}

/** For filters without references. */
const FILTER_INPUT: FilterInput = {
  path: ["spec", "rules", 0],
  prefix: "/a",
  namespace: "default",
  problems: [],
  resolve: () => ({}),
  extensionOf: () => ({ filters: {} }),
};

test("a replacement without a leading slash is a path all the same", () => {
  const full = { type: "ReplaceFullPath", replaceFullPath: "foo" } as const;
  const prefix = { type: "ReplacePrefixMatch", replacePrefixMatch: "foo" } as const;
  const empty = { type: "ReplacePrefixMatch", replacePrefixMatch: "" } as const;
  const read = (filter: HttpFilter): Filters => readFilters([filter], FILTER_INPUT).filters;
  const { rewrite } = read({ type: "URLRewrite", urlRewrite: { path: full } });
  assert.deepEqual(rewrite?.path, { type: "ReplaceFullPath", value: "/foo" });
  const redirect = { statusCode: 302, path: prefix } as const;
  const { redirect: found } = read({ type: "RequestRedirect", requestRedirect: redirect });
  assert.deepEqual(found?.path, { type: "ReplacePrefixMatch", prefix: "/a", value: "/foo" });
  const kept = read({ type: "URLRewrite", urlRewrite: { path: empty } });
  assert.deepEqual(kept.rewrite?.path, { type: "ReplacePrefixMatch", prefix: "/a", value: "" });
});

test("an extension that changes what another filter changes is refused, whichever comes first", () => {
  const extension = (name: string): HttpFilter => ({
    type: "ExtensionRef",
    extensionRef: { group: "sluice.dev", kind: "HTTPRouteFilter", name },
  });
  const path = { type: "ReplaceFullPath", replaceFullPath: "/b" } as const;
  const others: readonly (readonly [name: string, other: HttpFilter])[] = [
    ["rewrite", { type: "URLRewrite", urlRewrite: { path } }],
    ["direct", { type: "RequestRedirect", requestRedirect: { statusCode: 302 } }],
    ["direct", extension("direct")],
  ];
  const extensionOf: FilterInput["extensionOf"] = (_namespace, { name }) =>
    name === "rewrite"
      ? { filters: { rewrite: { path: { type: "ReplaceRegexMatch", pattern: "a", value: "b" } } } }
      : { filters: { directResponse: { statusCode: 200 } } };
  for (const [name, other] of others) {
    for (const filters of [
      [extension(name), other],
      [other, extension(name)],
    ]) {
      const input = { ...FILTER_INPUT, problems: [], extensionOf };
      assert.equal(readFilters(filters, input).broken, true, JSON.stringify(filters));
      assert.match(JSON.stringify(input.problems), /changes what another filter/);
    }
  }
});

test("of fields that exclude one another a merged policy has the closer one", () => {
  const policy = (name: string, target: string, spec: string): string =>
    `\napiVersion: sluice.dev/v1alpha1\nkind: BackendTrafficPolicy\nmetadata: {name: ${name}}\n` +
    `spec: {targetRefs: [{group: gateway.networking.k8s.io, ${target}}], ${spec}}\n`;
  const set = ResourceSet.parse(
    [
      gateway("edge", "{name: a, protocol: HTTP, port: 80}"),
      route("r", "{name: edge}"),
      policy(
        "outer",
        "kind: Gateway, name: edge",
        "compressor: [{type: Gzip}], split: {hash: {header: x-user}}",
      ),
      policy(
        "own",
        "kind: HTTPRoute, name: r",
        "mergeType: JSONMerge, compression: [{type: Zstd}], split: {hash: {cookie: user}}",
      ),
    ].join("---"),
  );
  const rule = compile(set).parts.get("rule/HTTPRoute/default/r/0@default/edge");
  assert.ok(rule?.type === "rule");
  assert.deepEqual(
    rule.compression?.encodings.map(({ name }) => name),
    ["zstd"],
  );
  assert.deepEqual(rule.splitHash, { type: "cookie", name: "user" });
});

test("a policy whose connections another one governs on some address is told so", () => {
  const bound = (name: string, address: string): string =>
    gateway(name, "{name: a, protocol: HTTP, port: 80, hostname: NAME.example}")
      .replace("NAME", name)
      .replace("{gatewayClassName: sluice,", `{gatewayClassName: sluice, ${address}`);
  const policy = (name: string, target: string, limit: number): string =>
    `\napiVersion: sluice.dev/v1alpha1\nkind: ClientTrafficPolicy\nmetadata: {name: ${name}}\n` +
    `spec: {targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: ${target}}], ` +
    `connection: {connectionLimit: {value: ${limit}}}}\n`;
  for (const [older, younger] of [
    ["any", "one"],
    ["one", "any"],
  ] as const) {
    const set = ResourceSet.parse(
      [
        bound("any", ""),
        bound("one", "addresses: [{value: 127.0.0.1}], "),
        policy("older", older, 10),
        policy("younger", younger, 20),
      ].join("---"),
    );
    const said = ["older", "younger"].map((name) => {
      const [ancestor] = draftOf(set, "ClientTrafficPolicy", name).ancestors ?? [];
      return textOf(ancestor?.conditions ?? [], "Accepted");
    });
    assert.deepEqual(said, ["Accepted=True Accepted", "Accepted=False Conflicted"]);
  }
});

test("a policy of a Gateway says for which listeners and routes another one holds", () => {
  const policy = (name: string, target: string, more = ""): string =>
    `\napiVersion: sluice.dev/v1alpha1\nkind: BackendTrafficPolicy\nmetadata: {name: ${name}}\n` +
    `spec: {targetRefs: [{group: gateway.networking.k8s.io, ${target}}], retry: {}${more}}\n`;
  const set = ResourceSet.parse(
    [
      gateway("edge", "{name: a, protocol: HTTP, port: 80}, {name: b, protocol: HTTP, port: 81}"),
      gateway("inner", "{name: a, protocol: HTTP, port: 82}"),
      route("on-b", "{name: edge, sectionName: b}"),
      route("merged", "{name: edge}"),
      route("else", "{name: inner}"),
      policy("gateway", "kind: Gateway, name: edge"),
      policy("listener-a", "kind: Gateway, name: edge, sectionName: a"),
      policy("listener-b", "kind: Gateway, name: edge, sectionName: b"),
      policy("on-b", "kind: HTTPRoute, name: on-b"),
      policy("on-b-too", "kind: HTTPRoute, name: on-b"),
      policy("merged", "kind: HTTPRoute, name: merged", ", mergeType: JSONMerge"),
      policy("else", "kind: HTTPRoute, name: else"),
    ].join("---"),
  );
  const said = (name: string): string | undefined => {
    const [ancestor] = draftOf(set, "BackendTrafficPolicy", name).ancestors ?? [];
    return ancestor?.conditions.find(({ type }) => type === "Overridden")?.message;
  };
  assert.equal(
    said("gateway"),
    "Policies of their own hold for Gateway default/edge (a), Gateway default/edge (b), " +
      "HTTPRoute default/on-b",
  );
  assert.equal(said("listener-a"), undefined);
  assert.equal(said("listener-b"), "Policies of their own hold for HTTPRoute default/on-b");
  assert.equal(said("on-b"), undefined);
  const problems = problemsOf(compile(set)).map(({ resource }) => resource);
  assert.ok(!problems.some(({ kind, name }) => kind.endsWith("Policy") && name === "gateway"));
});
