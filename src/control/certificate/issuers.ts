/**
 * Issuers and ClusterIssuers: each has an account at its CA, whose key is kept in a Secret and made
 * where there is none. The status says which account that is, so that it is registered once.
 */
import type { Clock } from "../../base/clock.ts";
import { contentHash, sha256 } from "../../base/hash.ts";
import type { IssuerReference } from "../../resource/certificate.ts";
import type { Secret } from "../../resource/core.ts";
import type { AcmeIssuerSpec, Issuer } from "../../resource/issuer.ts";
import type { ConditionDraft, Resource } from "../../resource/resource.ts";
import type { Change, Store } from "../../store/store.ts";
import type { AcmeServer, ConnectAcme } from "./acme.ts";
import { AcmeError } from "./acme-error.ts";
import { conditionOf, mergeConditions } from "./condition.ts";
import { holdsPrivateKey, secretText } from "./key-pair.ts";
import { makeAccountKey } from "./private-key.ts";
import type { Progress, Tasks } from "./tasks.ts";

/** Where the Secrets of ClusterIssuers are, as in cert-manager. */
const CLUSTER_NAMESPACE = "cert-manager";
const KEY_NAME = "tls.key";

export interface IssuersOptions {
  readonly store: Store;
  readonly clock: Clock;
  readonly tasks: Tasks;
  readonly connect: ConnectAcme;
}

export type FoundIssuer =
  | { readonly issuer: Issuer; readonly server: () => Promise<AcmeServer> }
  | { readonly problem: string };

interface Connected {
  readonly fingerprint: string;
  readonly server: Promise<AcmeServer>;
  readonly controller: AbortController;
}

/** What an account depends on. */
interface Account {
  readonly acme: AcmeIssuerSpec;
  readonly key: string;
  readonly externalAccount: { readonly kid: string; readonly hmacKey: string } | undefined;
}

type Reading =
  | { readonly type: "ready"; readonly account: Account; readonly uri: string }
  | { readonly type: "register"; readonly account: Account }
  | { readonly type: "make-key" }
  | { readonly type: "wrong"; readonly reason: string; readonly message: string };

export class Issuers {
  readonly #options: IssuersOptions;
  /** By UID. */
  readonly #connected = new Map<string, Connected>();

  constructor(options: IssuersOptions) {
    this.#options = options;
  }

  /** Brings every issuer's account about; returns when to look again, and the keys of its tasks. */
  look(): { readonly wakes: readonly (number | undefined)[]; readonly keys: readonly string[] } {
    const issuers = this.#all();
    const known = new Set(issuers.map(({ metadata }) => metadata.uid));
    for (const uid of this.#connected.keys()) if (!known.has(uid)) this.#disconnect(uid);
    return {
      wakes: issuers.map((issuer) => this.#advance(issuer)),
      keys: issuers.map(({ metadata }) => metadata.uid),
    };
  }

  /** The issuer that a Certificate of `namespace` names, with its account, or why there is none. */
  find(ref: IssuerReference, namespace: string): FoundIssuer {
    const home = ref.kind === "ClusterIssuer" ? "" : namespace;
    const found = this.#options.store.get(ref.kind, home, ref.name);
    const what = `${ref.kind} ${ref.name}`;
    if (found === undefined) return { problem: `Waiting for ${what}, which does not exist` };
    const issuer = asIssuer(found);
    const reading = this.#read(issuer);
    if (reading.type !== "ready") {
      const why = conditionOf(issuer, "Ready")?.message;
      return { problem: `Waiting for ${what}${why === undefined ? "" : `: ${why}`}` };
    }
    return { issuer, server: () => this.#serverOf(issuer, reading.account, reading.uri) };
  }

  /** The CA does not know the account: it is registered again. */
  async forget(issuer: Issuer): Promise<void> {
    const found = this.#options.store.get(
      issuer.kind,
      issuer.metadata.namespace,
      issuer.metadata.name,
    );
    if (found === undefined) return;
    await this.#write(asIssuer(found), { acme: {} }, notReady(LOST, "the CA has no such account"));
  }

  close(): void {
    for (const uid of this.#connected.keys()) this.#disconnect(uid);
  }

  #all(): readonly Issuer[] {
    const { store } = this.#options;
    return [...store.list("Issuer"), ...store.list("ClusterIssuer")].map(asIssuer);
  }

  #advance(issuer: Issuer): number | undefined {
    const reading = this.#read(issuer);
    const { uid } = issuer.metadata;
    const { tasks } = this.#options;
    switch (reading.type) {
      case "ready":
        if (isReady(issuer)) return undefined;
        return tasks.run(uid, () => this.#say(issuer, REGISTERED));
      case "make-key":
        return tasks.run(uid, () => this.#makeKey(issuer));
      case "register":
        return tasks.run(uid, () => this.#register(issuer, reading.account));
      case "wrong": {
        const draft = notReady(reading.reason, reading.message);
        if (conditionOf(issuer, "Ready")?.message === draft.message) return undefined;
        return tasks.run(uid, () => this.#say(issuer, draft));
      }
    }
    return undefined;
  }

  #read(issuer: Issuer): Reading {
    const { acme } = issuer.spec;
    const ref = acme.privateKeySecretRef;
    const keyName = ref.key ?? KEY_NAME;
    const holder = this.#secret(issuer, ref.name);
    const key = secretText(holder, keyName);
    if (key === undefined) {
      if (acme.disableAccountKeyGeneration !== true) return { type: "make-key" };
      const message = `Secret ${ref.name} has no private key, and none may be made`;
      return { type: "wrong", reason: "ErrGetKeyPair", message };
    }
    if (!holdsPrivateKey(holder, keyName)) {
      const message = `Secret ${ref.name} has no private key in PEM under ${keyName}`;
      return { type: "wrong", reason: "ErrGetKeyPair", message };
    }
    const bound = acme.externalAccountBinding;
    const secret = bound?.keySecretRef;
    const hmacKey =
      secret === undefined ? undefined : secretText(this.#secret(issuer, secret.name), secret.key);
    if (secret !== undefined && hmacKey === undefined) {
      const message = `Secret ${secret.name} has no key ${secret.key} for externalAccountBinding`;
      return { type: "wrong", reason: "ErrExternalAccountBinding", message };
    }
    const externalAccount =
      bound === undefined || hmacKey === undefined
        ? undefined
        : { kid: bound.keyID, hmacKey: hmacKey.trim() };
    const account = { acme, key, externalAccount };
    const status = issuer.status?.acme;
    const same =
      status?.["lastRegistration"] === registrationOf(account) &&
      status.lastPrivateKeyHash === sha256(key);
    if (!same || status.uri === undefined) return { type: "register", account };
    return { type: "ready", account, uri: status.uri };
  }

  #secret(issuer: Issuer, name: string): Secret | undefined {
    const namespace =
      issuer.kind === "ClusterIssuer" ? CLUSTER_NAMESPACE : issuer.metadata.namespace;
    return this.#options.store.get("Secret", namespace, name) as Secret | undefined;
  }

  async #makeKey(issuer: Issuer): Promise<Progress> {
    const { store } = this.#options;
    const { name, key = KEY_NAME } = issuer.spec.acme.privateKeySecretRef;
    const namespace =
      issuer.kind === "ClusterIssuer" ? CLUSTER_NAMESPACE : issuer.metadata.namespace;
    const value = Buffer.from(await makeAccountKey()).toString("base64");
    const before = this.#secret(issuer, name);
    const metadata = before?.metadata ?? { name, namespace };
    const data = { ...before?.data, [key]: value };
    const resource = { apiVersion: "v1", kind: "Secret", metadata, type: "Opaque", data };
    await store.commit([{ op: before === undefined ? "create" : "update", resource }]);
    return "changed";
  }

  async #register(issuer: Issuer, account: Account): Promise<Progress> {
    const { acme, key } = account;
    try {
      const server = await this.#serverOf(issuer, account, undefined);
      const uri = await server.register(acme.email);
      const status = {
        uri,
        lastPrivateKeyHash: sha256(key),
        lastRegistration: registrationOf(account),
        ...(acme.email !== undefined && { lastRegisteredEmail: acme.email }),
      };
      await this.#write(issuer, { acme: status }, REGISTERED);
      return "changed";
    } catch (error) {
      if (!(error instanceof AcmeError)) throw error;
      const message = `Failed to register the ACME account: ${error.message}`;
      await this.#say(issuer, notReady("ErrRegisterACMEAccount", message));
      throw error;
    }
  }

  /** The connection for an account; another one where what it depends on has changed. */
  #serverOf(issuer: Issuer, account: Account, uri: string | undefined): Promise<AcmeServer> {
    const { uid } = issuer.metadata;
    const fingerprint = contentHash([account, uri ?? ""]);
    const before = this.#connected.get(uid);
    if (before?.fingerprint === fingerprint) return before.server;
    this.#disconnect(uid);
    const controller = new AbortController();
    const { acme, key: accountKey, externalAccount } = account;
    const caBundle =
      acme.caBundle === undefined ? undefined : Buffer.from(acme.caBundle, "base64").toString();
    const server = this.#options.connect({
      directoryUrl: acme.server,
      accountKey,
      accountUrl: uri,
      trust: { caBundle, skipVerify: acme.skipTLSVerify === true },
      externalAccount,
      signal: controller.signal,
    });
    this.#connected.set(uid, { fingerprint, server, controller });
    return server;
  }

  #disconnect(uid: string): void {
    const connected = this.#connected.get(uid);
    if (connected === undefined) return;
    this.#connected.delete(uid);
    connected.controller.abort();
    void connected.server.then((server) => server.close()).catch(() => undefined);
  }

  async #say(issuer: Issuer, draft: ConditionDraft): Promise<Progress> {
    const before = conditionOf(issuer, "Ready");
    if (before?.status === draft.status && before.message === draft.message) return "same";
    await this.#write(issuer, {}, draft);
    return "changed";
  }

  async #write(issuer: Issuer, status: object, ready: ConditionDraft): Promise<void> {
    const { store, clock } = this.#options;
    const conditions = mergeConditions(issuer, [ready], { nowMs: clock.now() });
    const next = { ...issuer.status, ...status, conditions };
    const change: Change = { op: "status", resource: { ...issuer, status: next } };
    await store.commit([change]);
  }
}

/** Everything that another registration is needed for when it changes. */
function registrationOf({ acme, externalAccount }: Account): string {
  const bound = externalAccount === undefined ? "" : sha256(JSON.stringify(externalAccount));
  return contentHash([acme.server, acme.email ?? "", bound]);
}

function isReady(issuer: Issuer): boolean {
  return conditionOf(issuer, "Ready")?.status === "True";
}

const LOST = "AccountLost";

const REGISTERED: ConditionDraft = {
  type: "Ready",
  status: "True",
  reason: "ACMEAccountRegistered",
  message: "The ACME account was registered with the ACME server",
};

function notReady(reason: string, message: string): ConditionDraft {
  return { type: "Ready", status: "False", reason, message };
}

/** The kind's schema has checked it before it was stored. */
function asIssuer(resource: Resource): Issuer {
  return resource as Resource & Issuer;
}
