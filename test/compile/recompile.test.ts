/**
 * Compiling after a change against compiling all: whatever changes, in whatever order, both say the
 * same; and a change that nothing was compiled from compiles nothing.
 */
import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { test } from "node:test";
import { array, assert as check, constantFrom, integer, nat, property, record } from "fast-check";
import type { JsonObject } from "../../src/base/json.ts";
import { compile } from "../../src/compile/compile.ts";
import type { Compiled, ResourceChange } from "../../src/compile/compiled.ts";
import { recompile } from "../../src/compile/recompile.ts";
import { parseDocuments } from "../../src/resource/parse.ts";
import type { ResourceDraft } from "../../src/resource/resource.ts";
import { SERVED } from "../support/certificates.ts";
import { parseDrafts, ResourceSet } from "./resource-set.ts";

const BASE = `
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge}
spec:
  gatewayClassName: sluice
  listeners:
  - {name: http, protocol: HTTP, port: 8080}
  - {name: https, protocol: HTTPS, port: 8443, tls: {certificateRefs: [{name: tls0}, {name: tls1}]}}
  tls:
    backend: {clientCertificateRef: {name: tls1}}
    frontend: {default: {validation: {caCertificateRefs: [{kind: ConfigMap, group: "", name: ca}]}}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: shop}
spec:
  parentRefs: [{name: edge}]
  rules:
  - backendRefs:
    - {group: sluice.dev, kind: Backend, name: b0}
    - {group: sluice.dev, kind: Backend, name: b1}
    - {name: s0, port: 80}
    - {group: sluice.dev, kind: Backend, name: b0, namespace: other}
---
apiVersion: sluice.dev/v1alpha1
kind: AIGatewayRoute
metadata: {name: chat}
spec: {parentRefs: [{name: edge}], rules: [{backendRefs: [{name: a0}, {name: a1}]}]}
---
apiVersion: sluice.dev/v1alpha1
kind: SecurityPolicy
metadata: {name: keys}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: shop}]
  apiKeyAuth: {credentialRefs: [{name: key}], extractFrom: [{headers: [x-api-key]}]}
---
apiVersion: sluice.dev/v1alpha1
kind: BackendSecurityPolicy
metadata: {name: provider-key}
spec:
  targetRefs: [{group: sluice.dev, kind: AIServiceBackend, name: a0}]
  type: APIKey
  apiKey: {secretRef: {name: key}}
`;

/** Documents that come, change and go; `N` and `V` are replaced by small numbers. */
const CHANGING: readonly string[] = [
  `{apiVersion: sluice.dev/v1alpha1, kind: Backend, metadata: {name: bN},
    spec: {version: "V", endpoints: [{ip: {address: 127.0.0.1, port: 900V}}]}}`,
  `{apiVersion: sluice.dev/v1alpha1, kind: Backend, metadata: {name: bN},
    spec: {endpoints: [{ip: {address: 127.0.0.1, port: 900V}}],
      tls: {sni: a.example.com, caCertificateRefs: [{kind: ConfigMap, name: ca}]}}}`,
  `{apiVersion: sluice.dev/v1alpha1, kind: Backend, metadata: {name: bN, namespace: other},
    spec: {endpoints: [{ip: {address: 127.0.0.1, port: 910V}}]}}`,
  `{apiVersion: sluice.dev/v1alpha1, kind: AIServiceBackend, metadata: {name: aN},
    spec: {version: "V", schema: {name: OpenAI}, backendRef: {name: bV}}}`,
  `{apiVersion: argoproj.io/v1alpha1, kind: Rollout, metadata: {name: rN},
    spec: {workloadRef: {apiVersion: sluice.dev/v1alpha1, kind: Backend, name: bN},
      strategy: {canary: {steps: [{setWeight: 1V}]}}}}`,
  `{apiVersion: argoproj.io/v1alpha1, kind: Rollout, metadata: {name: rN},
    spec: {workloadRef: {apiVersion: sluice.dev/v1alpha1, kind: AIServiceBackend, name: aV},
      strategy: {canary: {steps: [{setWeight: 1V}]}}}}`,
  `{apiVersion: apps/v1, kind: ControllerRevision,
    metadata: {name: rN-V, labels: {rollouts-pod-template-hash: hashV}, ownerReferences: [
      {apiVersion: argoproj.io/v1alpha1, kind: Rollout, name: rN, uid: uid-of-Rollout/default/rN}]},
    revision: V, data: {endpoints: [{ip: {address: 127.0.0.1, port: 920V}}]}}`,
  `{apiVersion: apps/v1, kind: ControllerRevision,
    metadata: {name: rN-V, labels: {rollouts-pod-template-hash: hashV}, ownerReferences: [
      {apiVersion: argoproj.io/v1alpha1, kind: Rollout, name: rN, uid: uid-of-Rollout/default/rN}]},
    revision: V, data: {endpoints: "nonsense", tls: 3}}`,
  `{apiVersion: v1, kind: Service, metadata: {name: sN},
    spec: {ports: [{name: web, port: 80, targetPort: 300V}]}}`,
  `{apiVersion: v1, kind: Service, metadata: {name: sN},
    spec: {ports: [{port: 8V, appProtocol: kubernetes.io/h2c}]}}`,
  `{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice,
    metadata: {name: sliceN, labels: {kubernetes.io/service-name: sV}}, addressType: IPv4,
    endpoints: [{addresses: [10.0.0.V]}], ports: [{name: web, port: 300V}]}`,
  `{apiVersion: v1, kind: ConfigMap, metadata: {name: ca}, data: {ca.crt: certificate.V}}`,
  `{apiVersion: v1, kind: Secret, metadata: {name: tlsN}, type: kubernetes.io/tls,
    stringData: {tls.crt: certificate.V, tls.key: key.V}}`,
  `{apiVersion: gateway.networking.k8s.io/v1, kind: BackendTLSPolicy, metadata: {name: tN}, spec: {
    targetRefs: [{group: sluice.dev, kind: Backend, name: bV}, {group: "", kind: Service, name: sN}],
    validation: {hostname: a.example, caCertificateRefs: [{group: "", kind: ConfigMap, name: ca}]}}}`,
  `{apiVersion: gateway.networking.k8s.io/v1, kind: BackendTLSPolicy, metadata: {name: tN}, spec: {
    targetRefs: [{group: "", kind: Service, name: s0, sectionName: web}],
    validation: {hostname: b.example, wellKnownCACertificates: System}}}`,
  `{apiVersion: sluice.dev/v1alpha1, kind: ClientTrafficPolicy, metadata: {name: cN}, spec: {
    targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: edge, sectionName: https}],
    proxyProtocol: {}, tls: {clientValidation: {caCertificateRefs: [{name: tlsN}]}}}}`,
  `{apiVersion: v1, kind: Secret, metadata: {name: key}, stringData: {apiKey: keyV}}`,
  `{apiVersion: gateway.networking.k8s.io/v1, kind: ReferenceGrant,
    metadata: {name: grant, namespace: other}, spec: {
      from: [{group: gateway.networking.k8s.io, kind: HTTPRoute, namespace: default}],
      to: [{group: sluice.dev, kind: Backend, name: bV}]}}`,
  `{apiVersion: gateway.networking.k8s.io/v1, kind: HTTPRoute, metadata: {name: hN},
    spec: {parentRefs: [{name: edge}], rules: [{matches: [{path: {value: /V}}],
      backendRefs: [{group: sluice.dev, kind: Backend, name: bV}]}]}}`,
  `{apiVersion: sluice.dev/v1alpha1, kind: BackendTrafficPolicy, metadata: {name: pN}, spec: {
    targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: hV}],
    split: {hash: {sourceIP: true}}}}`,
  `{apiVersion: sluice.dev/v1alpha1, kind: BackendTrafficPolicy, metadata: {name: qN}, spec: {
    targetRefs: [{group: gateway.networking.k8s.io, kind: GRPCRoute, name: gV}],
    mergeType: JSONMerge, retry: {numRetries: V}}}`,
  `{apiVersion: sluice.dev/v1alpha1, kind: BackendTrafficPolicy, metadata: {name: outer}, spec: {
    targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: edge}],
    requestBuffer: {limit: 1V}}}`,
  `{apiVersion: gateway.networking.k8s.io/v1, kind: GRPCRoute, metadata: {name: gN},
    spec: {parentRefs: [{name: edge, sectionName: http}], hostnames: [gV.example.com],
      rules: [{backendRefs: [{name: sV, port: 80}]}]}}`,
  `{apiVersion: gateway.networking.k8s.io/v1, kind: HTTPRoute, metadata: {name: fN},
    spec: {parentRefs: [{name: edge}], hostnames: [gV.example.com, "*.example.com"], rules: [{
      filters: [{type: ExtensionRef, extensionRef: {group: sluice.dev, kind: HTTPRouteFilter, name: xN}},
        {type: RequestMirror, requestMirror: {backendRef: {name: sV, port: 80}}}],
      backendRefs: [{name: s1, port: 80}]}]}}`,
  `{apiVersion: sluice.dev/v1alpha1, kind: HTTPRouteFilter, metadata: {name: xN}, spec: {
    directResponse: {statusCode: 200, body: {type: ValueRef, valueRef: {kind: ConfigMap, name: ca}}}}}`,
  `{apiVersion: v1, kind: Endpoints, metadata: {name: sN},
    subsets: [{addresses: [{ip: 10.1.0.V}], ports: [{name: web, port: 300V}]}]}`,
  `{apiVersion: v1, kind: Service, metadata: {name: sN},
    spec: {ports: [{port: 80, appProtocol: kubernetes.io/ws}]}}`,
  `{apiVersion: gateway.networking.k8s.io/v1, kind: Gateway,
    metadata: {name: inner, annotations: {note: "N"}}, spec: {gatewayClassName: sluice, listeners: [
      {name: http, protocol: HTTP, port: 8081, allowedRoutes: {namespaces: {from: Selector,
        selector: {matchLabels: {team: "1"}}}}},
      {name: https, protocol: HTTPS, port: 8444, hostname: a.example,
        tls: {certificateRefs: [{name: tlsN}]}}]}}`,
  `{apiVersion: gateway.networking.k8s.io/v1, kind: Gateway,
    metadata: {name: inner, annotations: {cert-manager.io/issuer: ca}},
    spec: {gatewayClassName: sluice, listeners: [
      {name: http, protocol: HTTP, port: 8081, allowedRoutes: {namespaces: {from: Selector,
        selector: {matchLabels: {team: "1"}}}}},
      {name: https, protocol: HTTPS, port: 8444, hostname: a.example,
        tls: {certificateRefs: [{name: tlsN}]}}]}}`,
  `{apiVersion: v1, kind: Namespace, metadata: {name: team, labels: {team: "V"}}}`,
  `{apiVersion: gateway.networking.k8s.io/v1, kind: HTTPRoute,
    metadata: {name: tN, namespace: team}, spec: {parentRefs: [{name: inner, namespace: default}],
      rules: [{backendRefs: [{name: sV, namespace: default, port: 80}]}]}}`,
  `{apiVersion: cert-manager.io/v1, kind: Certificate, metadata: {name: tlsN}, spec: {
    secretName: tlsV, dnsNames: [a.example], issuerRef: {name: ca}}}`,
  `{apiVersion: cert-manager.io/v1, kind: Certificate, metadata: {name: tlsN}, spec: {
    secretName: tlsV, dnsNames: ["*.example"], issuerRef: {name: ca}}}`,
  `{apiVersion: cert-manager.io/v1, kind: Issuer, metadata: {name: ca}, spec: {acme: {
    server: "https://ca.example/V", privateKeySecretRef: {name: key}, solvers: [{http01: {}}]}}}`,
  `{apiVersion: cert-manager.io/v1, kind: Issuer, metadata: {name: ca}, spec: {acme: {
    server: "https://ca.example/V", privateKeySecretRef: {name: key}, solvers: [{http01: {}}],
    externalAccountBinding: {keyID: "1", keySecretRef: {name: key, key: apiKey}}}}}`,
  `{apiVersion: acme.cert-manager.io/v1, kind: Challenge, metadata: {name: lN}, spec: {type: HTTP-01,
    url: u, authorizationURL: a, dnsName: a.example, token: tV, key: tV.k, issuerRef: {name: ca},
    parentRefs: [{name: edge}, {name: inner, sectionName: http}]}}`,
  `{apiVersion: sluice.dev/v1alpha1, kind: ClientTrafficPolicy, metadata: {name: dN}, spec: {
    targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: inner}],
    tcpKeepalive: {probes: 1V}}}`,
  `{apiVersion: gateway.networking.k8s.io/v1, kind: GatewayClass, metadata: {name: sluice},
    spec: {controllerName: controller.example/V}}`,
  `{apiVersion: gateway.networking.k8s.io/v1, kind: GatewayClass, metadata: {name: sluice},
    spec: {controllerName: sluice.dev/gateway-controller}}`,
];

const step = record({
  document: nat(CHANGING.length - 1),
  name: nat(1),
  version: integer({ min: 0, max: 2 }),
  act: constantFrom("apply", "apply", "apply", "remove", "status"),
});

test("recompile says what compile says, after any changes", () => {
  check(
    property(array(array(step, { minLength: 1, maxLength: 3 }), { maxLength: 12 }), (rounds) => {
      const set = ResourceSet.parse(BASE);
      let compiled = compile(set);
      for (const round of rounds) {
        const changes = round.flatMap((one) => take(set, one));
        compiled = recompile(compiled, set, changes);
        const fresh = compile(set);
        assert.deepEqual(plain(compiled), plain(fresh));
      }
    }),
    { numRuns: 300 },
  );
});

/** The documents of all golden files that are right, many of which have one name. */
const GOLDEN = ["compile", "resource"].flatMap((folder) => {
  const url = new URL(`../golden/${folder}/`, import.meta.url);
  return readdirSync(url)
    .filter((name) => name.endsWith(".in.yaml"))
    .map((name) => readFileSync(new URL(name, url), "utf8"))
    .flatMap((text) => parseDocuments(text).documents.map(({ draft }) => draft));
});

const goldenStep = record({
  document: nat(GOLDEN.length - 1),
  act: constantFrom("apply", "apply", "remove"),
});

test("recompile says what compile says, of all kinds there are", () => {
  const histories = array(goldenStep, { minLength: 200, maxLength: 700 });
  check(
    property(histories, integer({ min: 1, max: 5 }), (steps, size) => {
      const set = new ResourceSet();
      let compiled = compile(set);
      for (let at = 0; at < steps.length; at += size) {
        const changes = steps.slice(at, at + size).flatMap(({ document, act }) => {
          const draft = GOLDEN[document] as ResourceDraft;
          const { namespace, name } = draft.metadata;
          if (act === "apply") return [set.apply(draft)];
          if (set.get(draft.kind, namespace, name) === undefined) return [];
          return [set.remove(draft.kind, namespace, name)];
        });
        compiled = recompile(compiled, set, changes);
      }
      assert.deepEqual(plain(compiled), plain(compile(set)));
    }),
    { numRuns: 30 },
  );
});

interface Step {
  readonly document: number;
  readonly name: number;
  readonly version: number;
  readonly act: string;
}

function take(set: ResourceSet, { document, name, version, act }: Step): readonly ResourceChange[] {
  const text = (CHANGING[document] ?? "").replaceAll(/\bN\b|(?<=[a-z])N(?![a-z])/g, String(name));
  const numbered = text.replaceAll(/V(?=[\W]|$)/g, String(version));
  const [draft] = parseDrafts(
    numbered
      .replaceAll(/certificate\.\d/g, JSON.stringify(SERVED[version]?.certificate ?? "none"))
      .replaceAll(/key\.\d/g, JSON.stringify(SERVED[version]?.privateKey ?? "none")),
  );
  assert.ok(draft);
  const { kind } = draft;
  const { namespace, name: own } = draft.metadata;
  const stored = set.get(kind, namespace, own);
  if (act === "remove") return stored === undefined ? [] : [set.remove(kind, namespace, own)];
  if (act === "apply") return [set.apply(draft)];
  if (stored === undefined) return [];
  const status = statusOf(kind, version);
  return [set.apply({ ...stored, status }, { statusOnly: true })];
}

/** A Rollout's status decides its weights; that of others is beside the point. */
function statusOf(kind: string, version: number): JsonObject {
  if (kind !== "Rollout") return { conditions: [], note: version };
  return {
    stableRS: "hash0",
    currentPodHash: `hash${version}`,
    promoteFull: version === 2,
    abort: version === 0,
  };
}

function plain(compiled: Compiled): unknown {
  return {
    parts: Object.fromEntries([...compiled.parts].toSorted(([a], [b]) => (a < b ? -1 : 1))),
    statuses: compiled.statuses,
    credentials: Object.fromEntries(compiled.credentials),
    routesOf: Object.fromEntries(compiled.routesOf),
    splits: [...compiled.splits.keys()].toSorted(),
  };
}

test("a status that nothing is compiled from compiles nothing", () => {
  const set = ResourceSet.parse(BASE);
  const compiled = compile(set);
  const route = set.get("HTTPRoute", "default", "shop");
  const change = set.apply({ ...route, status: { parents: [] } } as ResourceDraft, {
    statusOnly: true,
  });
  assert.equal(recompile(compiled, set, [change]), compiled);
});

test("an unreadable revision on trial leaves the stable one as it is", () => {
  const set = ResourceSet.parse(BASE);
  for (const [index, version] of [
    [0, 1],
    [4, 0],
    [6, 0],
    [7, 1],
  ] as const) {
    take(set, { document: index, name: 0, version, act: "apply" });
  }
  const { parts, statuses } = compile(set);
  const split = parts.get("split/Backend/default/b0");
  assert.ok(split?.type === "split");
  assert.deepEqual(
    split.arms.map((arm) => [arm.role, arm.weightBp]),
    [
      ["canary", 0],
      ["stable", 10_000],
    ],
  );
  const route = statuses.find((draft) => draft.key.kind === "HTTPRoute");
  assert.match(JSON.stringify(route), /revision hash1 of Backend default\/b0 cannot be read/);
});

test("labels alone decide which namespaces a listener takes routes from", () => {
  const set = ResourceSet.parse(`
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: inner}
spec:
  gatewayClassName: sluice
  listeners:
  - name: http
    protocol: HTTP
    port: 8081
    allowedRoutes: {namespaces: {from: Selector, selector: {matchLabels: {team: shop}}}}
---
apiVersion: v1
kind: Namespace
metadata: {name: team, labels: {team: other}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: shop, namespace: team}
spec: {parentRefs: [{name: inner, namespace: default}]}
`);
  const before = compile(set);
  const [labelled] = parseDrafts(
    "{apiVersion: v1, kind: Namespace, metadata: {name: team, labels: {team: shop}}}",
  );
  const change = set.apply(labelled as ResourceDraft);
  assert.equal(change.resource.metadata.generation, change.previous?.metadata.generation);
  const rules = (compiled: Compiled) =>
    [...compiled.parts.keys()].filter((key) => key.startsWith("rule"));
  assert.deepEqual(rules(before), []);
  assert.deepEqual(rules(recompile(before, set, [change])), ["rule/HTTPRoute/team/shop/0"]);
});

test("an EndpointSlice that moves to another Service leaves the first one", () => {
  const set = ResourceSet.parse(BASE);
  take(set, { document: 8, name: 0, version: 0, act: "apply" });
  take(set, { document: 10, name: 0, version: 0, act: "apply" });
  const before = compile(set);
  const changes = take(set, { document: 10, name: 0, version: 1, act: "apply" });
  const pool = (compiled: Compiled): number | undefined => {
    const part = compiled.parts.get("pool/Service/default/s0:80@live");
    return part?.type === "pool" ? part.endpoints.length : undefined;
  };
  assert.equal(pool(before), 1);
  assert.equal(pool(recompile(before, set, changes)), 0);
});

test("an LLM provider that moves to another Backend takes its Gateways along", () => {
  const set = ResourceSet.parse(`${BASE}
---
{apiVersion: sluice.dev/v1alpha1, kind: Backend, metadata: {name: old},
  spec: {endpoints: [{ip: {address: 127.0.0.1, port: 9001}}]}}
---
{apiVersion: sluice.dev/v1alpha1, kind: Backend, metadata: {name: new},
  spec: {endpoints: [{ip: {address: 127.0.0.1, port: 9002}}]}}
---
{apiVersion: gateway.networking.k8s.io/v1, kind: BackendTLSPolicy, metadata: {name: tls},
  spec: {targetRefs: [{group: sluice.dev, kind: Backend, name: new}],
    validation: {hostname: new.example, wellKnownCACertificates: System}}}
`);
  const provider = (name: string): ResourceChange => {
    const [draft] = parseDrafts(`{apiVersion: sluice.dev/v1alpha1, kind: AIServiceBackend,
      metadata: {name: a0}, spec: {schema: {name: OpenAI}, backendRef: {name: ${name}}}}`);
    return set.apply(draft as ResourceDraft);
  };
  const leading = ({ statuses }: Compiled) =>
    statuses
      .find(({ key }) => key.kind === "BackendTLSPolicy")
      ?.ancestors?.map(({ ancestorRef: { kind, name } }) => `${kind} ${name}`);
  provider("old");
  const before = compile(set);
  assert.deepEqual(leading(before), ["Backend new"]);
  assert.deepEqual(leading(recompile(before, set, [provider("new")])), ["Gateway edge"]);
});
