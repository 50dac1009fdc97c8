/** Decisions about certificates, without any CA: when one is obtained, how orders go on, who answers. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { gatewayCertificates } from "../../src/control/certificate/gateway-certificates.ts";
import type { KeyPairFacts } from "../../src/control/certificate/key-pair.ts";
import {
  backoffMs,
  type CertificateSeen,
  planCertificate,
} from "../../src/control/certificate/plan.ts";
import { planOrder } from "../../src/control/certificate/plan-order.ts";
import { answeringGateways, solverFor } from "../../src/control/certificate/solver.ts";
import type { Challenge, Order, OrderStatus } from "../../src/resource/acme.ts";
import type { Certificate, CertificateStatus } from "../../src/resource/certificate.ts";
import type { Gateway } from "../../src/resource/gateway.ts";
import type { Solver } from "../../src/resource/issuer.ts";
import { parseResource } from "../../src/resource/parse.ts";
import type { Resource, ResourceDraft } from "../../src/resource/resource.ts";

const DAY_MS = 86_400_000;
const HOUR_MS = 3_600_000;
const T0 = Date.UTC(2026, 0, 1);

/** As it would be stored: parsed, with its defaults. */
function stored(draft: ResourceDraft, status?: object): Resource {
  const parsed = parseResource(draft);
  assert.ok(parsed.ok, JSON.stringify(parsed));
  const meta = { uid: "uid-1", resourceVersion: "1", generation: 1, creationTimestamp: "" };
  const metadata = { ...meta, ...parsed.draft.metadata };
  return { ...parsed.draft, metadata, ...(status !== undefined && { status }) } as Resource;
}

function certificate(spec: object = {}, status: CertificateStatus = {}): Certificate {
  const draft: ResourceDraft = {
    apiVersion: "cert-manager.io/v1",
    kind: "Certificate",
    metadata: { name: "shop", namespace: "shop" },
    spec: { secretName: "tls", dnsNames: ["a.example"], issuerRef: { name: "ca" }, ...spec },
  };
  return stored(draft, status) as Resource & Certificate;
}

/** Valid for 90 days from T0. */
const FACTS: KeyPairFacts = {
  notBeforeMs: T0,
  notAfterMs: T0 + 90 * DAY_MS,
  dnsNames: ["a.example"],
  algorithm: "RSA",
  size: 2048,
};

function seen(overrides: Partial<CertificateSeen> = {}): CertificateSeen {
  return {
    certificate: certificate(),
    pair: { ok: true, facts: FACTS },
    signedBy: { name: "ca", kind: "Issuer" },
    rival: undefined,
    keyIsMade: false,
    issuerProblem: undefined,
    unobtainable: undefined,
    order: undefined,
    ...overrides,
  };
}

const ABSENT = { ok: false, reason: "DoesNotExist", message: "not there" } as const;

function issuing(reason = "DoesNotExist"): Certificate {
  return certificate({}, { conditions: [{ type: "Issuing", status: "True", reason }] });
}

function failed(nextMs: number, generation = 1): Certificate {
  const condition = { type: "Issuing", status: "False", observedGeneration: generation } as const;
  return certificate(
    {},
    { conditions: [condition], nextIssuanceTime: new Date(nextMs).toISOString() },
  );
}

function order(status: OrderStatus): Order {
  const draft: ResourceDraft = {
    apiVersion: "acme.cert-manager.io/v1",
    kind: "Order",
    metadata: { name: "order", namespace: "shop" },
    spec: { request: "cmVxdWVzdA==", dnsNames: ["a.example"], issuerRef: { name: "ca" } },
  };
  return stored(draft, status) as Resource & Order;
}

/** What is seen, at how many days, and what comes of it: step, Ready, when to look again. */
const PLANS: readonly {
  readonly name: string;
  readonly seen: CertificateSeen;
  readonly atDays?: number;
  readonly step: string;
  readonly reason?: string;
  readonly ready: string;
  readonly wakeDays?: number;
}[] = [
  { name: "all is well", seen: seen(), step: "rest", ready: "Ready", wakeDays: 60 },
  {
    name: "two thirds of its life are over",
    seen: seen(),
    atDays: 60,
    step: "begin",
    reason: "Renewing",
    ready: "Ready",
  },
  {
    name: "it has expired",
    seen: seen({ certificate: issuing("Renewing"), issuerProblem: "Waiting" }),
    atDays: 91,
    step: "make-key",
    ready: "Expired",
  },
  {
    name: "there is no Secret",
    seen: seen({ pair: ABSENT }),
    step: "begin",
    reason: "DoesNotExist",
    ready: "DoesNotExist",
  },
  {
    name: "renewBefore",
    seen: seen({ certificate: certificate({ renewBefore: "240h" }) }),
    step: "rest",
    ready: "Ready",
    wakeDays: 80,
  },
  {
    name: "renewBefore longer than the life that the CA gave",
    seen: seen({ certificate: certificate({ renewBefore: "2400h" }) }),
    step: "rest",
    ready: "Ready",
    wakeDays: 60,
  },
  {
    name: "renewBeforePercentage",
    seen: seen({ certificate: certificate({ renewBeforePercentage: 10 }) }),
    step: "rest",
    ready: "Ready",
    wakeDays: 81,
  },
  {
    name: "another name",
    seen: seen({ certificate: certificate({ dnsNames: ["a.example", "b.example"] }) }),
    step: "begin",
    reason: "SecretMismatch",
    ready: "SecretMismatch",
  },
  {
    name: "another kind of key",
    seen: seen({ certificate: certificate({ privateKey: { algorithm: "ECDSA" } }) }),
    step: "begin",
    reason: "SecretMismatch",
    ready: "SecretMismatch",
  },
  {
    name: "another issuer",
    seen: seen({ signedBy: { name: "ca", kind: "ClusterIssuer" } }),
    step: "begin",
    reason: "IncorrectIssuer",
    ready: "IncorrectIssuer",
  },
  {
    name: "another Certificate writes the Secret",
    seen: seen({ rival: "other", pair: ABSENT }),
    step: "rest",
    ready: "IncorrectCertificate",
  },
  {
    name: "an attempt has failed, and the next waits",
    seen: seen({ pair: ABSENT, certificate: failed(T0 + HOUR_MS) }),
    step: "rest",
    ready: "DoesNotExist",
    wakeDays: 1 / 24,
  },
  {
    name: "an attempt has failed, and the CA asks for a week",
    seen: seen({ pair: ABSENT, certificate: failed(T0 + 7 * DAY_MS) }),
    step: "rest",
    ready: "DoesNotExist",
    wakeDays: 7,
  },
  {
    name: "an attempt has failed by a clock that was years ahead, and was set back since",
    seen: seen({ pair: ABSENT, certificate: failed(T0 + 3650 * DAY_MS) }),
    step: "begin",
    reason: "DoesNotExist",
    ready: "DoesNotExist",
  },
  {
    name: "it has waited",
    seen: seen({ pair: ABSENT, certificate: failed(T0) }),
    step: "begin",
    reason: "DoesNotExist",
    ready: "DoesNotExist",
  },
  {
    name: "an attempt has failed, and then the spec was edited",
    seen: seen({ pair: ABSENT, certificate: failed(T0 + HOUR_MS, 0) }),
    step: "begin",
    reason: "DoesNotExist",
    ready: "DoesNotExist",
  },
  {
    name: "a person asks for another one",
    seen: seen({ certificate: issuing("ManuallyTriggered") }),
    step: "make-key",
    ready: "Ready",
    wakeDays: 90,
  },
  {
    name: "the issuer is not ready",
    seen: seen({ certificate: issuing(), keyIsMade: true, issuerProblem: "Waiting for ca" }),
    step: "rest",
    ready: "Ready",
    wakeDays: 90,
  },
  {
    name: "the key is made",
    seen: seen({ certificate: issuing(), keyIsMade: true }),
    step: "order",
    ready: "Ready",
    wakeDays: 90,
  },
  {
    name: "the order is under way",
    seen: seen({
      certificate: issuing(),
      keyIsMade: true,
      order: order({ state: "pending" }),
    }),
    step: "rest",
    ready: "Ready",
    wakeDays: 90,
  },
  {
    name: "the order is complete",
    seen: seen({
      certificate: issuing(),
      keyIsMade: true,
      order: order({ state: "valid", certificate: "Y2hhaW4=" }),
    }),
    step: "store",
    ready: "Ready",
    wakeDays: 90,
  },
  {
    name: "the order has failed",
    seen: seen({
      certificate: issuing(),
      keyIsMade: true,
      order: order({ state: "invalid", reason: "refused" }),
    }),
    step: "fail",
    ready: "Ready",
    wakeDays: 90,
  },
  {
    name: "what no CA can prove is not begun",
    seen: seen({ pair: ABSENT, unobtainable: "a wildcard" }),
    step: "rest",
    ready: "Unobtainable",
  },
  {
    name: "what can no longer be renewed is in force until it ends",
    seen: seen({ unobtainable: "a wildcard" }),
    atDays: 60,
    step: "rest",
    ready: "Ready",
    wakeDays: 90,
  },
  {
    name: "an attempt for what no CA can prove ends before its order",
    seen: seen({ certificate: issuing(), pair: ABSENT, unobtainable: "a wildcard" }),
    step: "fail",
    ready: "DoesNotExist",
  },
];

for (const { name, seen: what, atDays = 0, step, reason, ready, wakeDays } of PLANS) {
  test(`certificate: ${name}`, () => {
    const plan = planCertificate(what, T0 + atDays * DAY_MS);
    assert.equal(plan.step.type, step);
    if (plan.step.type === "begin") assert.equal(plan.step.reason, reason);
    assert.equal(plan.ready.reason, ready);
    assert.equal(plan.ready.status, ready === "Ready" ? "True" : "False");
    const wakeMs = wakeDays === undefined ? undefined : T0 + wakeDays * DAY_MS;
    assert.equal(plan.wakeAtMs, wakeMs);
  });
}

test("failed attempts wait 1, 2, 4 … 32 hours, and a tenth more at most", () => {
  const hours = [1, 2, 3, 4, 5, 6, 7, 100].map((failures) => backoffMs(failures, 0) / HOUR_MS);
  assert.deepEqual(hours, [1, 2, 4, 8, 16, 32, 32, 32]);
  assert.equal(backoffMs(1, 0.5) / HOUR_MS, 1.05);
});

function challenge(name: string, status: object = {}): Challenge {
  const draft: ResourceDraft = {
    apiVersion: "acme.cert-manager.io/v1",
    kind: "Challenge",
    metadata: { name, namespace: "shop" },
    spec: {
      type: "HTTP-01",
      url: "https://ca/challenge",
      authorizationURL: "https://ca/authorization",
      dnsName: "a.example",
      token: "token",
      key: "token.print",
      issuerRef: { name: "ca" },
      parentRefs: [],
    },
  };
  return stored(draft, status) as Resource & Challenge;
}

const KNOWN = [{ url: "https://ca/authorization", identifier: "a.example" }];
const PENDING: OrderStatus = { url: "https://ca/order", state: "pending", authorizations: KNOWN };

const ORDERS: readonly (readonly [
  name: string,
  status: OrderStatus,
  challenges: readonly Challenge[],
  served: readonly string[],
  step: string,
])[] = [
  ["is new", {}, [], [], "create"],
  [
    "is made; what it wants proven is not known",
    { ...PENDING, authorizations: [{ url: "https://ca/authorization" }] },
    [],
    [],
    "challenge",
  ],
  ["waits for every worker", PENDING, [challenge("a")], [], "rest"],
  ["one of two answers is served", PENDING, [challenge("a"), challenge("b")], ["b"], "accept"],
  [
    "the other is not served yet",
    PENDING,
    [challenge("a"), challenge("b", { processing: true })],
    ["b"],
    "rest",
  ],
  ["the CA looks", PENDING, [challenge("a", { processing: true })], ["a"], "poll"],
  ["nothing is left to prove", PENDING, [], [], "poll"],
  ["everything is proven", { ...PENDING, state: "ready" }, [], [], "finalize"],
  ["the CA signs", { ...PENDING, state: "processing" }, [], [], "poll"],
  ["is signed", { ...PENDING, state: "valid" }, [], [], "download"],
  ["is complete", { ...PENDING, state: "valid", certificate: "Yw==" }, [], [], "rest"],
  ["has failed", { ...PENDING, state: "invalid" }, [], [], "rest"],
  ["was refused", { state: "errored" }, [], [], "rest"],
  ["is too old", { ...PENDING, expires: "2025-12-31T00:00:00Z" }, [], [], "expire"],
];

for (const [name, status, challenges, served, step] of ORDERS) {
  test(`order: ${name}`, () => {
    const what = { order: order(status), challenges, served: new Set(served) };
    assert.equal(planOrder(what, T0).type, step);
  });
}

test("order: why nobody answers is said", () => {
  const conditions = [{ type: "Accepted", status: "False", message: "no listener" }];
  const what = { order: order(PENDING), challenges: [challenge("a", { conditions })] };
  assert.deepEqual(planOrder({ ...what, served: new Set() }, T0), {
    type: "rest",
    reason: "the challenge for a.example is not answered yet: no listener",
  });
});

const ANY: Solver = { http01: {} };
const ZONE: Solver = { selector: { dnsZones: ["example"] }, http01: {} };
const DEEP: Solver = { selector: { dnsZones: ["shop.example"] }, http01: {} };
const NAMED: Solver = { selector: { dnsNames: ["www.shop.example"] }, http01: {} };
const LABELLED: Solver = { selector: { matchLabels: { team: "a" } }, http01: {} };

const SOLVERS: readonly (readonly [
  string,
  Readonly<Record<string, string>>,
  Solver | undefined,
])[] = [
  ["www.shop.example", {}, NAMED],
  ["api.shop.example", {}, DEEP],
  ["shop.example", { team: "a" }, DEEP],
  ["other.example", {}, ZONE],
  ["myexample", {}, ANY],
  ["myexample", { team: "a" }, LABELLED],
];

for (const [name, labels, expected] of SOLVERS) {
  test(`solver for ${name} ${JSON.stringify(labels)}`, () => {
    const all = [ANY, ZONE, DEEP, NAMED, LABELLED];
    assert.equal(solverFor(all, name, labels), expected);
    assert.equal(solverFor(all.toReversed(), name, labels), expected);
  });
}

test("no solver is for the name", () => {
  assert.equal(solverFor([ZONE, LABELLED], "shop.test", { team: "b" }), undefined);
});

function gateway(annotations: Record<string, string>, listeners: readonly object[]): Gateway {
  const draft: ResourceDraft = {
    apiVersion: "gateway.networking.k8s.io/v1",
    kind: "Gateway",
    metadata: { name: "edge", namespace: "shop", annotations },
    spec: { gatewayClassName: "sluice", listeners },
  };
  return stored(draft) as Resource & Gateway;
}

function https(name: string, secret: string, hostname?: string): object {
  const certificateRefs = [{ name: secret }];
  const host = hostname === undefined ? {} : { hostname };
  return { name, port: 443, protocol: "HTTPS", tls: { certificateRefs }, ...host };
}

const BY_ISSUER = { "cert-manager.io/issuer": "ca" };
const LISTENERS = [
  { name: "http", port: 80, protocol: "HTTP" },
  https("one", "shop-tls", "a.example"),
  { ...https("two", "shop-tls", "b.example"), protocol: "https" },
  https("three", "other-tls", "c.example"),
  https("four", "any-tls"),
];

test("a Gateway without the annotation gets nothing", () => {
  assert.deepEqual(gatewayCertificates(gateway({}, LISTENERS), []), { changes: [], events: [] });
});

test("a Certificate for each Secret, with the names of its listeners", () => {
  const { changes } = gatewayCertificates(gateway(BY_ISSUER, LISTENERS), []);
  const made = changes.map((change) => change.op === "create" && change.resource["spec"]);
  const issuerRef = { name: "ca", kind: "Issuer", group: "cert-manager.io" };
  const privateKey = { algorithm: "RSA", encoding: "PKCS1", rotationPolicy: "Always" };
  assert.deepEqual(made, [
    { secretName: "shop-tls", dnsNames: ["a.example", "b.example"], issuerRef, privateKey },
    { secretName: "other-tls", dnsNames: ["c.example"], issuerRef, privateKey },
  ]);
});

test("the annotations of cert-manager; others are refused by name", () => {
  const annotations = {
    "cert-manager.io/cluster-issuer": "ca",
    "cert-manager.io/private-key-algorithm": "ECDSA",
    "cert-manager.io/private-key-size": "384",
    "cert-manager.io/renew-before": "240h",
    "cert-manager.io/subject-countries": "CH",
  };
  const { changes, events } = gatewayCertificates(gateway(annotations, LISTENERS.slice(0, 2)), []);
  assert.deepEqual(changes[0]?.op === "create" && changes[0].resource["spec"], {
    secretName: "shop-tls",
    dnsNames: ["a.example"],
    issuerRef: { name: "ca", kind: "ClusterIssuer", group: "cert-manager.io" },
    privateKey: { algorithm: "ECDSA", size: 384, encoding: "PKCS1", rotationPolicy: "Always" },
    renewBefore: "240h",
  });
  assert.match(events[0]?.message ?? "", /subject-countries is not supported by this version/);
});

test("what no Certificate may have is said, and none is made", () => {
  const annotations = { ...BY_ISSUER, "cert-manager.io/renew-before": "soon" };
  const { changes, events } = gatewayCertificates(gateway(annotations, LISTENERS.slice(0, 2)), []);
  assert.deepEqual(changes, []);
  assert.match(events[0]?.message ?? "", /annotations: renewBefore: must be a duration/);
});

test("a Certificate follows its Gateway, and goes when nothing needs it", () => {
  const edge = gateway(BY_ISSUER, LISTENERS.slice(0, 2));
  const [made] = gatewayCertificates(edge, []).changes;
  assert.ok(made?.op === "create");
  const before = stored(made.resource) as Resource & Certificate;
  assert.deepEqual(gatewayCertificates(edge, [before]), { changes: [], events: [] });
  const more = gateway(BY_ISSUER, LISTENERS.slice(0, 3));
  const [updated] = gatewayCertificates(more, [before]).changes;
  assert.ok(updated?.op === "update");
  const spec = updated.resource["spec"] as Certificate["spec"];
  assert.deepEqual(spec.dnsNames, ["a.example", "b.example"]);
  for (const without of [gateway({}, LISTENERS), gateway(BY_ISSUER, LISTENERS.slice(0, 1))]) {
    const { changes } = gatewayCertificates(without, [before]);
    assert.deepEqual(
      changes.map(({ op }) => op),
      ["delete"],
    );
  }
  const foreign = { ...before, metadata: { ...before.metadata, ownerReferences: [] } };
  const { changes, events } = gatewayCertificates(more, [foreign]);
  assert.deepEqual(changes, []);
  assert.match(events[0]?.message ?? "", /not this Gateway's/);
});

test("who answers: the solver's Gateways, the one that asked, all of the namespace", () => {
  const edges = ["edge", "inner"].map((name) => {
    const { metadata, ...rest } = gateway({}, LISTENERS);
    return { ...rest, metadata: { ...metadata, name } } as Resource;
  });
  const names = (solver: Solver, of: Certificate): readonly string[] =>
    answeringGateways(solver, of, edges).map(({ name }) => name);
  const owner = { apiVersion: "v1", kind: "Gateway", name: "edge", uid: "1" };
  const plain = certificate();
  const owned = { ...plain, metadata: { ...plain.metadata, ownerReferences: [owner] } };
  const parentRefs = [
    { group: "gateway.networking.k8s.io", kind: "Gateway", name: "far" },
  ] as const;
  const named: Solver = { http01: { gatewayHTTPRoute: { parentRefs: [...parentRefs] } } };
  assert.deepEqual(names(named, owned), ["far"]);
  assert.deepEqual(names(ANY, owned), ["edge"]);
  assert.deepEqual(names(ANY, plain), ["edge", "inner"]);
});
