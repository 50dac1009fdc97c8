/**
 * What is to be done about one Certificate: pure, from what was seen and the time. cert-manager's
 * words: a reason to issue sets the condition Issuing; a key is made, then an order; what comes of
 * the order is stored, or the attempt has failed and the next waits 1, 2, 4 … 32 hours.
 */
import { parseDuration } from "../../base/duration.ts";
import type { Order } from "../../resource/acme.ts";
import type { Certificate } from "../../resource/certificate.ts";
import type { ConditionDraft } from "../../resource/resource.ts";
import { RETRY_AFTER_MS_MAX } from "./acme-error.ts";
import { conditionOf } from "./condition.ts";
import type { KeyPairFacts, KeyPairReading } from "./key-pair.ts";

export interface CertificateSeen {
  readonly certificate: Certificate;
  readonly pair: KeyPairReading;
  /** Who signed what the Secret holds, as its annotations say; undefined without annotations. */
  readonly signedBy: { readonly name: string; readonly kind: string } | undefined;
  /** Another Certificate that is there writes the same Secret. */
  readonly rival: string | undefined;
  /** Whether the key of the certificate that is being obtained is there. */
  readonly keyIsMade: boolean;
  /** What stands in the way of orders; undefined where the issuer is ready. */
  readonly issuerProblem: string | undefined;
  /** Why nothing can come of an order, whatever the CA says; undefined where something may. */
  readonly unobtainable: string | undefined;
  /** The order of this attempt. */
  readonly order: Order | undefined;
}

export type Step =
  | { readonly type: "rest" }
  | { readonly type: "begin"; readonly reason: string; readonly message: string }
  | { readonly type: "make-key" }
  | { readonly type: "order" }
  | { readonly type: "store"; readonly chain: string }
  | { readonly type: "fail"; readonly message: string };

export interface CertificatePlan {
  readonly step: Step;
  readonly ready: ConditionDraft;
  /** Present while a certificate is being obtained: how that stands. */
  readonly issuing: ConditionDraft | undefined;
  readonly facts: KeyPairFacts | undefined;
  /** When it is renewed. */
  readonly renewalMs: number | undefined;
  /** When to look again without a change. */
  readonly wakeAtMs: number | undefined;
}

const HOUR_MS = 3_600_000;
const BACKOFF_MAX_MS = 32 * HOUR_MS;
/** The longest that an attempt waits, the times of both rounded to seconds. */
const WAIT_MS_MAX = Math.max(BACKOFF_MAX_MS * 1.1, RETRY_AFTER_MS_MAX) + 1000;

/** How long the next attempt waits after so many failures; `random` in [0, 1) spreads them. */
export function backoffMs(failures: number, random: number): number {
  const fullMs = Math.min(HOUR_MS * 2 ** Math.max(failures - 1, 0), BACKOFF_MAX_MS);
  return fullMs * (1 + random / 10);
}

/** When a certificate is renewed: at two thirds of its life unless its Certificate says otherwise. */
export function renewalTimeMs({ spec }: Certificate, facts: KeyPairFacts): number {
  const { notBeforeMs, notAfterMs } = facts;
  const lifeMs = notAfterMs - notBeforeMs;
  const wantedMs =
    spec.renewBeforePercentage === undefined
      ? parseDuration(spec.renewBefore ?? "")
      : (lifeMs * spec.renewBeforePercentage) / 100;
  const beforeMs = wantedMs !== undefined && wantedMs < lifeMs ? wantedMs : lifeMs / 3;
  return Math.floor((notAfterMs - beforeMs) / 1000) * 1000;
}

export function planCertificate(seen: CertificateSeen, nowMs: number): CertificatePlan {
  const { certificate, pair } = seen;
  const facts = pair.ok ? pair.facts : undefined;
  const renewalMs = facts === undefined ? undefined : renewalTimeMs(certificate, facts);
  const plan = { ready: readyOf(seen, nowMs), facts, renewalMs };
  const expiryMs = facts !== undefined && facts.notAfterMs > nowMs ? facts.notAfterMs : undefined;
  if (conditionOf(certificate, "Issuing")?.status === "True") {
    return { ...plan, ...advance(seen), wakeAtMs: expiryMs };
  }
  const rest = { ...plan, step: { type: "rest" } as const, issuing: undefined };
  if (seen.rival !== undefined) return { ...rest, wakeAtMs: expiryMs };
  const cause = causeOf(seen, renewalMs, nowMs);
  if (cause === undefined) return { ...rest, wakeAtMs: renewalMs };
  if (seen.unobtainable !== undefined) {
    return { ...rest, ...unobtainable(seen.unobtainable, plan.ready), wakeAtMs: expiryMs };
  }
  const waitsUntilMs = nextAttemptMs(certificate);
  // A longer wait than any is one of a clock that was set back since.
  if (waitsUntilMs > nowMs && waitsUntilMs <= nowMs + WAIT_MS_MAX) {
    return { ...rest, wakeAtMs: Math.min(waitsUntilMs, expiryMs ?? Infinity) };
  }
  return { ...plan, step: { type: "begin", ...cause }, issuing: undefined, wakeAtMs: undefined };
}

/** Nobody is asked for what cannot be had; what there is may still be in force. */
function unobtainable(
  message: string,
  ready: ConditionDraft,
): Pick<CertificatePlan, "ready" | "issuing"> {
  const reason = "Unobtainable";
  return {
    ready: ready.status === "True" ? ready : { ...ready, reason, message },
    issuing: { type: "Issuing", status: "False", reason, message },
  };
}

/** When the next attempt may begin; a Certificate that was edited since the last need not wait. */
function nextAttemptMs(certificate: Certificate): number {
  const failed = conditionOf(certificate, "Issuing");
  if (failed?.observedGeneration !== certificate.metadata.generation) return 0;
  return Date.parse(certificate.status?.nextIssuanceTime ?? "") || 0;
}

function advance(seen: CertificateSeen): Pick<CertificatePlan, "step" | "issuing"> {
  const { certificate, order, keyIsMade, issuerProblem, unobtainable: never } = seen;
  const reason = conditionOf(certificate, "Issuing")?.reason ?? "Issuing";
  const say = (step: Step, message: string): Pick<CertificatePlan, "step" | "issuing"> => ({
    step,
    issuing: { type: "Issuing", status: "True", reason, message },
  });
  if (order === undefined && never !== undefined) {
    return say({ type: "fail", message: never }, "The order would fail");
  }
  if (!keyIsMade) return say({ type: "make-key" }, "Making a private key");
  if (order === undefined) {
    if (issuerProblem !== undefined) return say({ type: "rest" }, issuerProblem);
    return say({ type: "order" }, "Ordering");
  }
  const { state, certificate: chain, reason: why } = order.status ?? {};
  if (state === "valid" && chain !== undefined) {
    return say({ type: "store", chain }, "Storing the certificate");
  }
  if (state === "invalid" || state === "expired" || state === "errored") {
    return say({ type: "fail", message: why ?? `the order is ${state}` }, "The order has failed");
  }
  const message = `Order ${order.metadata.name} is ${state ?? "new"}${why === undefined ? "" : `: ${why}`}`;
  return say({ type: "rest" }, message);
}

interface Cause {
  readonly reason: string;
  readonly message: string;
}

/** Why a certificate must be obtained; undefined where what is there will do. */
function causeOf(
  seen: CertificateSeen,
  renewalMs: number | undefined,
  nowMs: number,
): Cause | undefined {
  const { pair } = seen;
  if (!pair.ok) return pair;
  const mismatch = mismatchOf(seen, pair.facts);
  if (mismatch !== undefined) return mismatch;
  if (renewalMs === undefined || renewalMs > nowMs) return undefined;
  return { reason: "Renewing", message: "Renewing certificate as renewal was scheduled" };
}

/** Whether a key is of the algorithm and size that a Certificate asks for. */
export function isOfKind(
  facts: KeyPairFacts,
  { algorithm, size }: Certificate["spec"]["privateKey"],
): boolean {
  return facts.algorithm === algorithm && facts.size === (size ?? DEFAULT_SIZE[algorithm]);
}

/** Bits. */
const DEFAULT_SIZE = { RSA: 2048, ECDSA: 256 } as const;

/** What is there is for other names, of another key or by another issuer. */
function mismatchOf(
  { certificate, signedBy }: CertificateSeen,
  facts: KeyPairFacts,
): Cause | undefined {
  const { issuerRef, dnsNames, privateKey } = certificate.spec;
  if (signedBy?.name !== issuerRef.name || signedBy.kind !== issuerRef.kind) {
    const message = "Issuing certificate as Secret was issued by another issuer";
    return { reason: "IncorrectIssuer", message };
  }
  const names = new Set(facts.dnsNames);
  const wanted = dnsNames.map((name) => name.toLowerCase());
  if (names.size !== new Set(wanted).size || !wanted.every((name) => names.has(name))) {
    const message = "Issuing certificate as Secret is for other names";
    return { reason: "SecretMismatch", message };
  }
  if (!isOfKind(facts, privateKey)) {
    const message = "Issuing certificate as Secret has a private key of another kind";
    return { reason: "SecretMismatch", message };
  }
  return undefined;
}

function readyOf(seen: CertificateSeen, nowMs: number): ConditionDraft {
  const { pair, rival } = seen;
  const not = ({ reason, message }: Cause): ConditionDraft => ({
    type: "Ready",
    status: "False",
    reason,
    message,
  });
  if (rival !== undefined) {
    return not({
      reason: "IncorrectCertificate",
      message: `Secret ${seen.certificate.spec.secretName} is written by Certificate ${rival}`,
    });
  }
  if (!pair.ok) return not(pair);
  const mismatch = mismatchOf(seen, pair.facts);
  if (mismatch !== undefined) return not(mismatch);
  if (pair.facts.notAfterMs <= nowMs) {
    return not({ reason: "Expired", message: "Certificate has expired" });
  }
  const message = "Certificate is up to date and has not expired";
  return { type: "Ready", status: "True", reason: "Ready", message };
}
