/** Carries out the plan of one Certificate (plan.ts), in one commit: status, Secrets, Order, Event. */
import { type Clock, toTimestamp } from "../../base/clock.ts";
import { contentHash } from "../../base/hash.ts";
import { jsonEqual, type JsonObject } from "../../base/json.ts";
import type { Random } from "../../base/random.ts";
import { whyUnobtainable } from "../../compile/wanted-certificates.ts";
import type { Order } from "../../resource/acme.ts";
import type { Certificate, CertificateStatus } from "../../resource/certificate.ts";
import type { Secret } from "../../resource/core.ts";
import { CERT_MANAGER_GROUP } from "../../resource/reference.ts";
import type { ConditionDraft, Resource, ResourceDraft } from "../../resource/resource.ts";
import type { Change, Store } from "../../store/store.ts";
import { type EventText, eventChange } from "../event.ts";
import { mergeConditions } from "./condition.ts";
import type { Issuers } from "./issuers.ts";
import { holdsPrivateKey, readKeyPair, secretText } from "./key-pair.ts";
import { challengesOf } from "./orders.ts";
import {
  backoffMs,
  type CertificatePlan,
  type CertificateSeen,
  isOfKind,
  planCertificate,
  renewalTimeMs,
} from "./plan.ts";
import { makePrivateKey, makeRequest } from "./private-key.ts";

export const COMPONENT = "certificates-controller";

export interface CertificatesOptions {
  readonly store: Store;
  readonly clock: Clock;
  readonly random: Random;
  readonly issuers: Issuers;
}

interface Looked {
  readonly seen: CertificateSeen;
  readonly plan: CertificatePlan;
}

export class Certificates {
  readonly #options: CertificatesOptions;

  constructor(options: CertificatesOptions) {
    this.#options = options;
  }

  /** Looks at one Certificate and decides. */
  look(certificate: Certificate): Looked {
    const seen = this.#observe(certificate);
    return { seen, plan: planCertificate(seen, this.#options.clock.now()) };
  }

  /** Whether anything was written: then there is more to decide. Throws StoreError. */
  async apply({ seen, plan }: Looked): Promise<boolean> {
    const changes = await this.#changes(seen, plan);
    if (changes.length === 0) return false;
    await this.#options.store.commit(changes);
    return true;
  }

  #observe(certificate: Certificate): CertificateSeen {
    const { store, issuers } = this.#options;
    const { namespace } = certificate.metadata;
    const { secretName, issuerRef } = certificate.spec;
    const secret = this.#secret(namespace, secretName);
    const annotations = secret?.metadata.annotations ?? {};
    const name = annotations[ANNOTATION.issuerName];
    const issuer = issuers.find(issuerRef, namespace);
    const nextName = certificate.status?.nextPrivateKeySecretName ?? "";
    const isAttempts = nextName === nameOf(certificate, "key");
    const nextKey = isAttempts ? this.#secret(namespace, nextName) : undefined;
    return {
      certificate,
      pair: readKeyPair(secret),
      signedBy:
        name === undefined ? undefined : { name, kind: annotations[ANNOTATION.issuerKind] ?? "" },
      rival: this.#rivalOf(certificate, annotations[ANNOTATION.certificateName]),
      // What somebody has put in its place is none: another is made.
      keyIsMade: holdsPrivateKey(nextKey, KEY),
      issuerProblem: "problem" in issuer ? issuer.problem : undefined,
      unobtainable: whyUnobtainable(store, namespace, certificate.spec),
      order: store.get("Order", namespace, nameOf(certificate, "order")) as Order | undefined,
    };
  }

  #secret(namespace: string, name: string): Secret | undefined {
    return this.#options.store.get("Secret", namespace, name) as Secret | undefined;
  }

  /** The Certificate that the Secret says it is of, where that is another one and writes it still. */
  #rivalOf({ metadata, spec }: Certificate, other: string | undefined): string | undefined {
    if (other === undefined || other === metadata.name) return undefined;
    const found = this.#options.store.get("Certificate", metadata.namespace, other);
    return found?.spec?.["secretName"] === spec.secretName ? other : undefined;
  }

  async #changes(seen: CertificateSeen, plan: CertificatePlan): Promise<readonly Change[]> {
    const { certificate } = seen;
    const { step } = plan;
    const issuing = plan.issuing === undefined ? [] : [plan.issuing];
    switch (step.type) {
      case "rest":
        return this.#status(certificate, plan, { conditions: issuing });
      case "begin": {
        const { reason, message } = step;
        const begun = { type: "Issuing", status: "True", reason, message } as const;
        return [
          ...this.#status(certificate, plan, { conditions: [begun] }),
          this.#event(certificate, { reason: "Issuing", message }),
        ];
      }
      case "make-key":
        return this.#makeKey(seen, plan);
      case "order":
        return [
          ...(await this.#order(seen)),
          ...this.#status(certificate, plan, { conditions: issuing }),
        ];
      case "store":
        return this.#store(seen, plan, step.chain);
      case "fail":
        return this.#fail(seen, plan, step.message);
    }
    return [];
  }

  async #makeKey(seen: CertificateSeen, plan: CertificatePlan): Promise<readonly Change[]> {
    const { certificate, pair } = seen;
    const { namespace } = certificate.metadata;
    const { privateKey, secretName } = certificate.spec;
    const name = nameOf(certificate, "key");
    const kept =
      privateKey.rotationPolicy === "Never" && pair.ok && isOfKind(pair.facts, privateKey)
        ? secretText(this.#secret(namespace, secretName), KEY)
        : undefined;
    const value = kept ?? (await makePrivateKey(privateKey));
    const conditions = plan.issuing === undefined ? [] : [plan.issuing];
    const fields = { nextPrivateKeySecretName: name };
    const status = this.#status(certificate, plan, { conditions, fields });
    const before = this.#secret(namespace, name);
    if (holdsPrivateKey(before, KEY)) return status;
    const resource: ResourceDraft = {
      apiVersion: "v1",
      kind: "Secret",
      metadata: {
        name,
        namespace,
        labels: { [`${CERT_MANAGER_GROUP}/next-private-key`]: "true" },
        ownerReferences: [ownedBy(certificate)],
      },
      type: "Opaque",
      data: { [KEY]: Buffer.from(value).toString("base64") },
    };
    const reason = "Generated";
    const message = `Stored new private key in temporary Secret resource "${name}"`;
    return [
      { op: before === undefined ? "create" : "update", resource },
      ...status,
      this.#event(certificate, { reason, message }),
    ];
  }

  async #order({ certificate }: CertificateSeen): Promise<readonly Change[]> {
    const { spec, metadata } = certificate;
    const { namespace } = metadata;
    const key = secretText(this.#secret(namespace, nameOf(certificate, "key")), KEY) ?? "";
    const request = await makeRequest(spec, key);
    const found = this.#options.issuers.find(spec.issuerRef, namespace);
    if ("problem" in found) return [];
    const { profile } = found.issuer.spec.acme;
    const name = nameOf(certificate, "order");
    const order: ResourceDraft = {
      apiVersion: "acme.cert-manager.io/v1",
      kind: "Order",
      metadata: { name, namespace, ownerReferences: [ownedBy(certificate)] },
      spec: {
        request: Buffer.from(request).toString("base64"),
        issuerRef: spec.issuerRef,
        dnsNames: spec.dnsNames,
        ...(spec.commonName !== undefined && { commonName: spec.commonName }),
        ...(spec.duration !== undefined && { duration: spec.duration }),
        ...(profile !== undefined && { profile }),
      },
    };
    const message = `Created new Order resource "${name}"`;
    return [
      ...this.#leftOver(certificate),
      { op: "create", resource: order },
      this.#event(certificate, { reason: "Requested", message }),
    ];
  }

  /** Orders and keys of attempts before this one. */
  #leftOver(certificate: Certificate): readonly Change[] {
    const { store } = this.#options;
    const { namespace, uid } = certificate.metadata;
    const current = new Set([nameOf(certificate, "order"), nameOf(certificate, "key")]);
    return [...store.list("Order", namespace), ...store.list("Secret", namespace)]
      .filter(
        ({ metadata }) =>
          !current.has(metadata.name) &&
          metadata.ownerReferences?.some((owner) => owner.uid === uid) === true,
      )
      .map(deletion);
  }

  #store(seen: CertificateSeen, plan: CertificatePlan, chain: string): readonly Change[] {
    const { certificate, order } = seen;
    const { namespace } = certificate.metadata;
    const nextKey = this.#secret(namespace, nameOf(certificate, "key"));
    const before = this.#secret(namespace, certificate.spec.secretName);
    const tlsKey = nextKey?.data?.[KEY] ?? "";
    const secret = secretDraft(certificate, before, { "tls.crt": chain, [KEY]: tlsKey });
    const pair = readKeyPair(secret as Secret & ResourceDraft);
    if (!pair.ok) return this.#fail(seen, plan, "the CA's certificate is not for the private key");
    const challenges = order === undefined ? [] : challengesOf(this.#options.store, order);
    const message = "The certificate has been successfully issued";
    const dueMs = renewalTimeMs(certificate, pair.facts);
    return [
      { op: before === undefined ? "create" : "update", resource: secret },
      ...this.#status(certificate, plan, this.#issued(certificate, dueMs)),
      ...challenges.map((challenge) => deletion(challenge)),
      ...(nextKey === undefined ? [] : [deletion(nextKey)]),
      this.#event(certificate, { reason: "Issuing", message }),
    ];
  }

  /** What is said of a certificate that was obtained and is due for renewal at `dueMs`. */
  #issued(certificate: Certificate, dueMs: number): StatusWrite {
    const revision = (certificate.status?.revision ?? 0) + 1;
    if (dueMs <= this.#options.clock.now()) {
      // Where a clock is wrong, or a CA gives shorter lives, it must not be asked again at once.
      const message = "The CA's certificate is due for renewal already; the next one has to wait";
      const { conditions, fields } = this.#failed(certificate, message, 0);
      return { conditions, fields: { ...fields, revision } };
    }
    const fields = {
      revision,
      nextPrivateKeySecretName: undefined,
      failedIssuanceAttempts: undefined,
      lastFailureTime: undefined,
      nextIssuanceTime: undefined,
    };
    return { conditions: [], fields, without: "Issuing" };
  }

  /** What is said of an attempt after which the next has to wait, until `askedMs` at least. */
  #failed(certificate: Certificate, message: string, askedMs: number): StatusWrite {
    const { clock, random } = this.#options;
    const failures = (certificate.status?.failedIssuanceAttempts ?? 0) + 1;
    const nowMs = clock.now();
    const nextMs = Math.max(nowMs + backoffMs(failures, random()), askedMs);
    return {
      conditions: [{ type: "Issuing", status: "False", reason: "Failed", message }],
      fields: {
        failedIssuanceAttempts: failures,
        lastFailureTime: toTimestamp(nowMs),
        nextIssuanceTime: toTimestamp(nextMs),
        nextPrivateKeySecretName: undefined,
      },
    };
  }

  #fail(seen: CertificateSeen, plan: CertificatePlan, why: string): readonly Change[] {
    const { store } = this.#options;
    const { certificate, order } = seen;
    const message = `The certificate request has failed to complete and will be retried: ${why}`;
    const askedMs = Date.parse(order?.status?.retryTime ?? "") || 0;
    const nextKey = this.#secret(certificate.metadata.namespace, nameOf(certificate, "key"));
    const challenges = order === undefined ? [] : challengesOf(store, order);
    return [
      ...this.#status(certificate, plan, this.#failed(certificate, message, askedMs)),
      ...challenges.map((challenge) => deletion(challenge)),
      ...(nextKey === undefined ? [] : [deletion(nextKey)]),
      this.#event(certificate, { reason: "Failed", message, warning: true }),
    ];
  }

  /** The write of the status, unless it says this already. */
  #status(
    certificate: Certificate,
    plan: CertificatePlan,
    written: StatusWrite,
  ): readonly Change[] {
    const { conditions, fields, without } = written;
    const { facts, renewalMs } = plan;
    const merged = mergeConditions(certificate, [plan.ready, ...conditions], {
      nowMs: this.#options.clock.now(),
      ...(without !== undefined && { without }),
    });
    const status = {
      ...certificate.status,
      notBefore: facts === undefined ? undefined : toTimestamp(facts.notBeforeMs),
      notAfter: facts === undefined ? undefined : toTimestamp(facts.notAfterMs),
      renewalTime: renewalMs === undefined ? undefined : toTimestamp(renewalMs),
      ...fields,
      conditions: merged,
    };
    const plain = JSON.parse(JSON.stringify(status)) as JsonObject;
    if (jsonEqual(plain, certificate.status ?? {})) return [];
    return [{ op: "status", resource: { ...certificate, status: plain } }];
  }

  #event(certificate: Certificate, text: EventText): Change {
    const { store, clock } = this.#options;
    const regarding = certificate as Certificate & Resource;
    return eventChange(regarding, text, { store, nowMs: clock.now(), component: COMPONENT });
  }
}

interface StatusWrite {
  readonly conditions: readonly ConditionDraft[];
  readonly fields?: {
    readonly [Field in keyof CertificateStatus]?: CertificateStatus[Field] | undefined;
  };
  /** A condition that is taken away. */
  readonly without?: string;
}

const KEY = "tls.key";

const ANNOTATION = {
  altNames: `${CERT_MANAGER_GROUP}/alt-names`,
  certificateName: `${CERT_MANAGER_GROUP}/certificate-name`,
  commonName: `${CERT_MANAGER_GROUP}/common-name`,
  issuerGroup: `${CERT_MANAGER_GROUP}/issuer-group`,
  issuerKind: `${CERT_MANAGER_GROUP}/issuer-kind`,
  issuerName: `${CERT_MANAGER_GROUP}/issuer-name`,
} as const;

/**
 * The name of what belongs to the attempt that a Certificate is at: another certificate, another
 * spec and another try have other names, so that nothing of one attempt is taken for another's.
 */
export function nameOf({ metadata, status }: Certificate, what: "order" | "key"): string {
  const { uid, generation, name } = metadata;
  const { revision = 0, failedIssuanceAttempts = 0 } = status ?? {};
  const attempt = contentHash([uid, generation, revision, failedIssuanceAttempts, what]);
  return `${name.slice(0, NAME_LENGTH_MAX)}-${revision + 1}-${attempt.slice(0, 8)}`;
}

/** Leaves room for what is appended to the name of a Certificate, an Order and a Challenge. */
const NAME_LENGTH_MAX = 200;

function ownedBy({ apiVersion, kind, metadata: { name, uid } }: Certificate) {
  return { apiVersion, kind, name, uid, controller: true };
}

function deletion({ kind, metadata }: Pick<Resource, "kind" | "metadata">): Change {
  const { namespace, name, uid } = metadata;
  return { op: "delete", key: { kind, namespace, name }, uid };
}

/** The Secret as it is to be: other keys, labels and annotations that it has stay. */
function secretDraft(
  { metadata, spec }: Certificate,
  before: Secret | undefined,
  data: Readonly<Record<string, string>>,
): ResourceDraft {
  const { dnsNames, commonName, issuerRef, secretTemplate, secretName: name } = spec;
  const known = before?.metadata ?? { name, namespace: metadata.namespace };
  return {
    apiVersion: "v1",
    kind: "Secret",
    metadata: {
      ...known,
      labels: {
        ...before?.metadata.labels,
        ...secretTemplate?.labels,
        "controller.cert-manager.io/fao": "true",
      },
      annotations: {
        ...before?.metadata.annotations,
        ...secretTemplate?.annotations,
        [ANNOTATION.altNames]: dnsNames.join(","),
        [ANNOTATION.certificateName]: metadata.name,
        [ANNOTATION.commonName]: commonName ?? "",
        [ANNOTATION.issuerGroup]: issuerRef.group,
        [ANNOTATION.issuerKind]: issuerRef.kind,
        [ANNOTATION.issuerName]: issuerRef.name,
      },
    },
    type: "kubernetes.io/tls",
    data: { ...before?.data, ...data },
  };
}
