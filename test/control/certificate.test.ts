/**
 * The controller of certificates over months of virtual time, with a real store, real keys and real
 * certificates, and a CA that the test scripts: renewals, a CA that is away, limits on orders, answers
 * that are not served yet, and what never may happen: two orders of one Certificate at once.
 */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { test, type TestContext } from "node:test";
import type { AcmeOrder, AcmeServer } from "../../src/control/certificate/acme.ts";
import { AcmeError } from "../../src/control/certificate/acme-error.ts";
import { makeAccountKey } from "../../src/control/certificate/private-key.ts";
import { createCertificateController } from "../../src/control/certificate/reconcile.ts";
import { createDriver } from "../../src/control/driver.ts";
import { seededRandom } from "../../src/base/random.ts";
import type { CertificateStatus } from "../../src/resource/certificate.ts";
import { parseResource } from "../../src/resource/parse.ts";
import type { ResourceDraft } from "../../src/resource/resource.ts";
import { openSqliteStore } from "../../src/store/sqlite.ts";
import { hasOpenssl, TestAuthority } from "../support/certificates.ts";
import { VirtualClock } from "../support/clock.ts";

const skip = hasOpenssl() ? false : "openssl is not there";

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;
const NAMESPACE = "default";
const NAME = "shop-tls";

const ISSUER: ResourceDraft = {
  apiVersion: "cert-manager.io/v1",
  kind: "Issuer",
  metadata: { name: "ca", namespace: NAMESPACE },
  spec: {
    acme: {
      server: "https://ca.example/directory",
      privateKeySecretRef: { name: "account" },
      solvers: [{ http01: {} }],
    },
  },
};

const CERTIFICATE: ResourceDraft = {
  apiVersion: "cert-manager.io/v1",
  kind: "Certificate",
  metadata: { name: NAME, namespace: NAMESPACE },
  spec: {
    secretName: NAME,
    dnsNames: ["shop.example.com"],
    issuerRef: { name: "ca" },
    privateKey: { algorithm: "ECDSA" },
  },
};

/** A CA that does what it is asked, unless the test has it say something else. */
class ScriptedCa implements AcmeServer {
  readonly authority = new TestAuthority();
  readonly calls: string[] = [];
  /** Thrown by every call while it is set; only by those of one name where `only` is set. */
  fault: AcmeError | undefined;
  only = "";
  days = 90;
  /** What it wants proven. */
  asksFor = "shop.example.com";
  /** Replaces the certificate. */
  chain: string | undefined;
  #state: AcmeOrder["state"] = "pending";
  #accepted = false;
  #request = "";
  #number = 0;
  open = 0;
  openMax = 0;

  async register(): Promise<string> {
    this.#call("register");
    return "https://ca.example/account/1";
  }

  async order(): Promise<AcmeOrder> {
    this.#call("order");
    this.#number++;
    this.#state = "pending";
    this.#accepted = false;
    this.open++;
    this.openMax = Math.max(this.openMax, this.open);
    return this.#order();
  }

  async readOrder(): Promise<AcmeOrder> {
    this.#call("readOrder");
    if (this.#state === "pending" && this.#accepted) this.#state = "ready";
    return this.#order();
  }

  async readAuthorization(url: string) {
    this.#call("readAuthorization");
    const at = `https://ca.example/challenge/${this.#number}`;
    const status = this.#accepted ? "valid" : "pending";
    const token = `token-${this.#number}`;
    const challenges = [{ type: "http-01", url: at, token, status, problem: undefined }];
    return { url, dnsName: this.asksFor, wildcard: false, status, challenges };
  }

  async keyAuthorization(token: string): Promise<string> {
    return `${token}.thumbprint`;
  }

  async accept(): Promise<void> {
    this.#call("accept");
    this.#accepted = true;
  }

  async finalize(_order: AcmeOrder, request: string): Promise<AcmeOrder> {
    this.#call("finalize");
    this.#request = request;
    this.#state = "valid";
    return this.#order();
  }

  async download(): Promise<string> {
    this.#call("download");
    this.open--;
    return this.chain ?? this.authority.sign(this.#request, this.days);
  }

  close(): void {}

  #call(name: string): void {
    this.calls.push(name);
    if (this.fault !== undefined && (this.only === "" || this.only === name)) throw this.fault;
  }

  #order(): AcmeOrder {
    const at = `https://ca.example/order/${this.#number}`;
    return {
      url: at,
      finalizeUrl: `${at}/finalize`,
      state: this.#state,
      expires: undefined,
      authorizations: [`https://ca.example/authorization/${this.#number}`],
      certificate: this.#state === "valid" ? `${at}/certificate` : undefined,
      problem: undefined,
    };
  }
}

async function world(t: TestContext) {
  const directory = mkdtempSync(path.join(tmpdir(), "sluice-certificate-"));
  // Certificates are dated by openssl, which knows only today.
  const clock = new VirtualClock(Math.floor(Date.now() / 1000) * 1000);
  const store = openSqliteStore({ path: path.join(directory, "store.db"), clock });
  const ca = new ScriptedCa();
  const workers = { serve: true };
  const random = seededRandom(5);
  const told = new Set<string>();
  const controller = createCertificateController({
    store,
    log: { warn: (_fields: object, text?: string) => void told.add(text ?? "") },
    clock,
    random,
    dataPlane: { serves: () => workers.serve },
    connect: async () => ca,
    wake: () => driver.signal(),
  });
  const errors: unknown[] = [];
  const driver = createDriver({
    reconcilers: [controller],
    clock,
    random,
    onError: (_name, error) => errors.push(error),
  });
  store.watch(() => driver.signal());
  const add = async (draft: ResourceDraft): Promise<void> => {
    const parsed = parseResource(draft);
    assert.ok(parsed.ok, JSON.stringify(parsed));
    await store.commit([{ op: "create", resource: parsed.draft }]);
  };
  driver.start();
  t.after(async () => {
    await driver.stop();
    controller.close();
    store.close();
    ca.authority[Symbol.dispose]();
    rmSync(directory, { recursive: true });
    assert.deepEqual(errors, []);
  });
  const status = (): CertificateStatus => store.get("Certificate", NAMESPACE, NAME)?.status ?? {};
  const condition = (type: string) => status().conditions?.find((one) => one.type === type);
  /** Moves time on in small steps until `holds`, letting keys be made and commits be written. */
  const until = async (what: string, holds: () => boolean, stepMs = 100): Promise<void> => {
    for (let turn = 0; turn < 3000; turn++) {
      if (holds()) return;
      await clock.advanceSettled(stepMs, () => pause(8));
    }
    assert.fail(`${what}: ${JSON.stringify(store.list("Order").map((one) => one.status))}`);
  };
  return { clock, store, ca, workers, told, add, status, condition, until };
}

/** Lets real work — key generation, the store's disk — come to its end. */
async function pause(turns: number): Promise<void> {
  for (let turn = 0; turn < turns; turn++) {
    await new Promise<void>((resolve) => setImmediate(resolve));
  }
}

test("obtained, and renewed at two thirds of its life", { skip }, async (t) => {
  const { clock, store, ca, add, status, condition, until } = await world(t);
  ca.days = 90;
  await add(ISSUER);
  await add(CERTIFICATE);
  await until("the first", () => status().revision === 1 && condition("Ready")?.status === "True");
  const secret = store.get("Secret", NAMESPACE, NAME);
  assert.equal(secret?.["type"], "kubernetes.io/tls");
  const { notBefore = "", notAfter = "", renewalTime = "" } = status();
  const lifeMs = Date.parse(notAfter) - Date.parse(notBefore);
  assert.ok(Math.abs(lifeMs / DAY_MS - 90) < 0.1);
  const dueMs = Date.parse(renewalTime);
  assert.equal(Math.round((dueMs - Date.parse(notBefore)) / DAY_MS), 60);
  // An hour before nothing happens, whatever else does.
  await clock.advanceSettled(dueMs - clock.now() - HOUR_MS, () => pause(8));
  assert.equal(status().revision, 1);
  assert.equal(ca.calls.filter((call) => call === "order").length, 1);
  await until("renewed", () => status().revision === 2, HOUR_MS / 4);
  const renewed = store.get("Secret", NAMESPACE, NAME);
  assert.notEqual(renewed?.["data"], secret?.["data"]);
  assert.equal(ca.openMax, 1, "never two orders at once");
  assert.equal(ca.calls.filter((call) => call === "register").length, 1);
  assert.deepEqual(store.list("Challenge"), []);
});

test("the CA is told to look once every worker answers, and not before", { skip }, async (t) => {
  const { clock, store, ca, workers, add, status, until } = await world(t);
  workers.serve = false;
  await add(ISSUER);
  await add(CERTIFICATE);
  await until("the challenge is there", () => store.list("Challenge").length === 1);
  const [challenge] = store.list("Challenge");
  assert.equal(challenge?.spec?.["key"], "token-1.thumbprint");
  await clock.advanceSettled(HOUR_MS, () => pause(8));
  assert.ok(!ca.calls.includes("accept"));
  assert.equal(status().revision, undefined);
  workers.serve = true;
  // What wakes the controller is an acknowledgement; any change does.
  await add({ apiVersion: "v1", kind: "ConfigMap", metadata: { name: "x", namespace: NAMESPACE } });
  await until("it is obtained", () => status().revision === 1);
});

test("a CA that is away is asked again, less and less often, for ever", { skip }, async (t) => {
  const { clock, ca, told, add, status, until } = await world(t);
  ca.fault = new AcmeError("away", { type: "", status: 0, retryAfterMs: 0 });
  ca.only = "order";
  await add(ISSUER);
  await add(CERTIFICATE);
  const asked = (): number => ca.calls.filter((call) => call === "order").length;
  await until("it was asked", () => asked() > 0);
  await clock.advanceSettled(HOUR_MS, () => pause(8));
  const first = asked();
  assert.ok(first > 10 && first < 40, `${first} times in the first hour`);
  await clock.advanceSettled(HOUR_MS, () => pause(8));
  const second = asked() - first;
  assert.ok(second >= 11 && second <= 25, `${second} times in the second hour`);
  assert.equal(status().failedIssuanceAttempts, undefined, "no attempt has failed");
  for (const text of told) assert.match(text, /^Order default\/[\w-]+ waits: away$/);
  assert.equal(told.size, 1);
  ca.fault = undefined;
  await until("it is back", () => status().revision === 1, 60_000);
});

test("a limit on orders is kept: not before the CA's Retry-After", { skip }, async (t) => {
  const { clock, ca, add, status, condition, until } = await world(t);
  const type = "urn:ietf:params:acme:error:rateLimited";
  ca.fault = new AcmeError("too many", { type, status: 429, retryAfterMs: 2 * DAY_MS });
  ca.only = "order";
  await add(ISSUER);
  await add(CERTIFICATE);
  await until("it has failed", () => condition("Issuing")?.reason === "Failed");
  assert.match(condition("Issuing")?.message ?? "", /too many/);
  const nextMs = Date.parse(status().nextIssuanceTime ?? "");
  assert.ok(nextMs - clock.now() > 1.9 * DAY_MS);
  ca.fault = undefined;
  const asked = ca.calls.length;
  await clock.advanceSettled(nextMs - clock.now() - HOUR_MS, () => pause(8));
  assert.equal(ca.calls.length, asked, "the CA is left alone");
  await until("obtained", () => status().revision === 1, HOUR_MS / 4);
  assert.equal(status().failedIssuanceAttempts, undefined);
});

test("a CA that never knows its accounts is asked less and less often", { skip }, async (t) => {
  const { clock, ca, add, status, until } = await world(t);
  const type = "urn:ietf:params:acme:error:accountDoesNotExist";
  ca.fault = new AcmeError("who are you?", { type, status: 400, retryAfterMs: 0 });
  ca.only = "order";
  await add(ISSUER);
  await add(CERTIFICATE);
  const asked = (): number => ca.calls.filter((call) => call === "order").length;
  await until("it was asked", () => asked() > 0);
  await pause(1000);
  assert.equal(asked(), 1, "not again before time moves on");
  await clock.advanceSettled(HOUR_MS, () => pause(20));
  assert.ok(asked() > 5 && asked() < 40, `${asked()} times in an hour`);
  ca.fault = undefined;
  await until("it has the account", () => status().revision === 1, 60_000);
});

test("refusals wait 1, 2, 4 … hours; an edit need not wait", { skip }, async (t) => {
  const { clock, store, ca, add, status, until } = await world(t);
  const type = "urn:ietf:params:acme:error:rejectedIdentifier";
  ca.fault = new AcmeError("not this name", { type, status: 400, retryAfterMs: 0 });
  ca.only = "order";
  await add(ISSUER);
  await add(CERTIFICATE);
  for (const [failures, hours] of [1, 2, 4, 8].entries()) {
    await until(
      `failure ${failures + 1}`,
      () => status().failedIssuanceAttempts === failures + 1,
      HOUR_MS / 20,
    );
    const lastMs = Date.parse(status().lastFailureTime ?? "");
    const waitHours = (Date.parse(status().nextIssuanceTime ?? "") - lastMs) / HOUR_MS;
    assert.ok(waitHours >= hours - 0.01 && waitHours <= hours * 1.11, `${waitHours} of ${hours} h`);
  }
  assert.equal(store.list("Order").length, 1, "orders that failed are not collected");
  ca.fault = undefined;
  const now = store.get("Certificate", NAMESPACE, NAME);
  assert.ok(now !== undefined);
  const spec = { ...now.spec, renewBefore: "240h" };
  await store.commit([{ op: "update", resource: { ...now, spec } }]);
  const editedMs = clock.now();
  await until("obtained", () => status().revision === 1);
  assert.ok(clock.now() - editedMs < HOUR_MS);
});

test("a CA that wants another name proven gets no answer", { skip }, async (t) => {
  const { store, ca, add, condition, until } = await world(t);
  ca.asksFor = "bank.example.com";
  await add(ISSUER);
  await add(CERTIFICATE);
  await until("it has failed", () => condition("Issuing")?.reason === "Failed");
  assert.match(condition("Issuing")?.message ?? "", /"bank.example.com" proven, which was not/);
  assert.deepEqual(store.list("Challenge"), []);
  assert.ok(!ca.calls.includes("accept"));
});

test("a wildcard is not asked for, until the CA may know it proven", { skip }, async (t) => {
  const { clock, store, ca, add, status, condition, until } = await world(t);
  await add(ISSUER);
  const dnsNames = ["shop.example.com", "*.example.com"];
  await add({ ...CERTIFICATE, spec: { ...(CERTIFICATE["spec"] as object), dnsNames } });
  await until("said", () => condition("Issuing")?.reason === "Unobtainable");
  assert.equal(condition("Ready")?.reason, "Unobtainable");
  assert.match(
    condition("Ready")?.message ?? "",
    /^HTTP-01 cannot prove \*\.example\.com, and DNS-01 is not supported by this version/,
  );
  await clock.advanceSettled(DAY_MS, () => pause(8));
  assert.deepEqual(
    ca.calls.filter((call) => call !== "register"),
    [],
  );
  assert.equal(status().failedIssuanceAttempts, undefined);
  const key = { apiVersion: "v1", kind: "Secret", metadata: { name: "eab", namespace: NAMESPACE } };
  await add({ ...key, stringData: { hmac: "c2VjcmV0" } });
  const [issuer] = store.list("Issuer");
  assert.ok(issuer);
  const externalAccountBinding = { keyID: "1", keySecretRef: { name: "eab", key: "hmac" } };
  const { acme } = issuer.spec as { acme: object };
  const spec = { acme: { ...acme, externalAccountBinding } };
  await store.commit([{ op: "update", resource: { ...issuer, spec } }]);
  await until("ordered", () => ca.calls.includes("order"));
});

test("a certificate that is not for the key is never stored", { skip }, async (t) => {
  const { store, ca, add, condition, until } = await world(t);
  ca.chain = ca.authority.issue({ names: "DNS:shop.example.com" }).certificate;
  await add(ISSUER);
  await add(CERTIFICATE);
  await until("it has failed", () => condition("Issuing")?.reason === "Failed");
  assert.match(condition("Issuing")?.message ?? "", /not for the private key/);
  assert.equal(store.get("Secret", NAMESPACE, NAME), undefined);
});

test("certificates that are due at once are asked for less and less often", { skip }, async (t) => {
  const { clock, store, ca, add, status, condition, until } = await world(t);
  ca.days = 90;
  // Certificates are dated by openssl: to a clock that is 80 days ahead each is due already.
  await clock.advanceSettled(80 * DAY_MS, () => pause(1));
  await add(ISSUER);
  await add(CERTIFICATE);
  await until("the first", () => status().revision === 1);
  await pause(500);
  const orders = (): number => ca.calls.filter((call) => call === "order").length;
  assert.equal(orders(), 1);
  assert.ok(store.get("Secret", NAMESPACE, NAME), "it is served meanwhile");
  assert.equal(condition("Ready")?.status, "True");
  assert.match(condition("Issuing")?.message ?? "", /due for renewal already/);
  for (const revision of [2, 3, 4]) {
    await until(`number ${revision}`, () => status().revision === revision, HOUR_MS / 4);
  }
  assert.equal(status().failedIssuanceAttempts, 4, "after waits of 1, 2 and 4 hours");
  assert.equal(orders(), 4);
});

test(
  "an account's key that is none is said on the issuer, and mended by another",
  { skip },
  async (t) => {
    const { store, ca, add, status, until } = await world(t);
    const secret = (value: string): ResourceDraft => ({
      apiVersion: "v1",
      kind: "Secret",
      metadata: { name: "account", namespace: NAMESPACE },
      stringData: { "tls.key": value },
    });
    await add(secret("hunter2"));
    await add(ISSUER);
    await add(CERTIFICATE);
    const issuer = () => JSON.stringify(store.get("Issuer", NAMESPACE, "ca")?.status);
    await until("it is said", () => issuer()?.includes("ErrGetKeyPair"));
    assert.match(issuer(), /Secret account has no private key in PEM under tls.key/);
    assert.deepEqual(ca.calls, []);
    const parsed = parseResource(secret(await makeAccountKey()));
    assert.ok(parsed.ok);
    await store.commit([{ op: "update", resource: parsed.draft }]);
    await until("it is obtained", () => status().revision === 1);
  },
);

test("a key of an attempt that was damaged is made anew", { skip }, async (t) => {
  const { store, add, status, condition, until } = await world(t);
  await add(CERTIFICATE);
  const waits = () => condition("Issuing")?.message?.startsWith("Waiting for Issuer") === true;
  await until("it waits for its issuer", waits);
  const name = status().nextPrivateKeySecretName ?? "";
  const key = store.get("Secret", NAMESPACE, name);
  assert.ok(key !== undefined);
  const data = { "tls.key": Buffer.from("hunter2").toString("base64") };
  await store.commit([{ op: "update", resource: { ...key, data } }]);
  await add(ISSUER);
  await until("it is obtained", () => status().revision === 1);
});

test("a key that is kept is of the size that is asked for", { skip }, async (t) => {
  const { store, ca, add, status, condition, until } = await world(t);
  await add(ISSUER);
  const keeps = { algorithm: "ECDSA", rotationPolicy: "Never" };
  await add({ ...CERTIFICATE, spec: { ...(CERTIFICATE["spec"] as object), privateKey: keeps } });
  await until("the first", () => condition("Ready")?.status === "True");
  const now = store.get("Certificate", NAMESPACE, NAME);
  assert.ok(now !== undefined);
  const spec = { ...now.spec, privateKey: { ...keeps, encoding: "PKCS8", size: 384 } };
  await store.commit([{ op: "update", resource: { ...now, spec } }]);
  await until("another", () => (status().revision ?? 0) >= 2);
  await pause(500);
  assert.equal(condition("Ready")?.reason, "Ready");
  assert.equal(ca.calls.filter((call) => call === "order").length, 2);
});

test("private keys stand in Secrets alone", { skip }, async (t) => {
  const { store, add, status, until } = await world(t);
  await add(ISSUER);
  await add(CERTIFICATE);
  await until("it is obtained", () => status().revision === 1);
  for (const kind of ["Issuer", "Certificate", "Order", "Challenge", "Event"]) {
    const text = JSON.stringify(store.list(kind));
    const decoded = text.replaceAll(/[A-Za-z0-9+/=]{40,}/g, (found) =>
      Buffer.from(found, "base64").toString("latin1"),
    );
    assert.doesNotMatch(text + decoded, /PRIVATE KEY/, kind);
  }
  const secrets = store.list("Secret").map(({ metadata }) => metadata.name);
  assert.deepEqual(secrets.toSorted(), ["account", NAME]);
});
