/**
 * Carries out the steps of orders (plan-order.ts) with the CA. Each step ends in one commit of what
 * is known then, so that after a restart the next step is the same as it would have been.
 */
import { type Clock, toTimestamp } from "../../base/clock.ts";
import { parseDuration } from "../../base/duration.ts";
import { contentHash } from "../../base/hash.ts";
import { challengeKey } from "../../compile/challenges.ts";
import type { Challenge, Order, OrderStatus } from "../../resource/acme.ts";
import type { Certificate } from "../../resource/certificate.ts";
import type { Issuer } from "../../resource/issuer.ts";
import type { Resource, ResourceDraft } from "../../resource/resource.ts";
import { type Change, type Store, StoreError } from "../../store/store.ts";
import type { DataPlaneView } from "../data-plane.ts";
import type { AcmeAuthorization, AcmeOrder, AcmeServer } from "./acme.ts";
import { AcmeError } from "./acme-error.ts";
import type { Issuers } from "./issuers.ts";
import { type OrderStep, planOrder } from "./plan-order.ts";
import { answeringGateways, solverFor } from "./solver.ts";
import type { Progress, Tasks } from "./tasks.ts";

export interface OrdersOptions {
  readonly store: Store;
  readonly clock: Clock;
  readonly dataPlane: Pick<DataPlaneView, "serves">;
  readonly issuers: Issuers;
  readonly tasks: Tasks;
}

interface Work {
  readonly order: Order;
  readonly certificate: Certificate;
  readonly issuer: Issuer;
  readonly server: AcmeServer;
}

type Status = Partial<OrderStatus>;

const PROBLEM = "urn:ietf:params:acme:error:";
const ACCOUNT_LOST = `${PROBLEM}accountDoesNotExist`;

export class Orders {
  readonly #options: OrdersOptions;

  constructor(options: OrdersOptions) {
    this.#options = options;
  }

  /** Brings a Certificate's order forward; returns when to look at it again without a change. */
  advance(order: Order, certificate: Certificate): number | undefined {
    const { store, clock, dataPlane, issuers, tasks } = this.#options;
    const { namespace, uid } = order.metadata;
    if (tasks.isRunning(uid)) return undefined;
    const challenges = challengesOf(store, order);
    const served = new Set(
      challenges
        .map(({ metadata }) => metadata.name)
        .filter((name) => dataPlane.serves(challengeKey(namespace, name))),
    );
    const step = planOrder({ order, challenges, served }, clock.now());
    if (step.type === "rest") return this.#rest(order, step.reason);
    if (step.type === "expire") {
      const reason = "the CA forgot the order before it was complete";
      return tasks.run(uid, () => this.#write(order, this.#failed("expired", reason)));
    }
    const found = issuers.find(order.spec.issuerRef, namespace);
    if ("problem" in found) return this.#rest(order, found.problem);
    const { issuer } = found;
    return tasks.run(uid, async () => {
      const server = await found.server();
      return this.#perform(step, { order, certificate, issuer, server });
    });
  }

  /** Says what is waited for; what changes it wakes the controller. */
  #rest(order: Order, reason: string | undefined): number | undefined {
    if (reason === undefined || order.status?.reason === reason) return undefined;
    return this.#options.tasks.run(order.metadata.uid, () => this.#write(order, { reason }));
  }

  async #perform(step: OrderStep, work: Work): Promise<Progress> {
    try {
      return await this.#step(step, work);
    } catch (error) {
      if (!(error instanceof AcmeError)) throw error;
      if (error.type === ACCOUNT_LOST) {
        await this.#options.issuers.forget(work.issuer);
        // A CA may say so of an account that it has just registered: the order waits like any failure.
        throw error;
      }
      // A CA that limits new orders means hours, which is what failed attempts wait.
      const limited = error.status === 429 && step.type === "create";
      if (error.isPassing && !limited) {
        await this.#write(work.order, { reason: error.message });
        throw error;
      }
      const { clock } = this.#options;
      const retry = { retryTime: toTimestamp(clock.now() + error.retryAfterMs) };
      return this.#write(work.order, {
        ...this.#failed("errored", error.message),
        ...(error.retryAfterMs > 0 && retry),
      });
    }
  }

  async #step(step: OrderStep, work: Work): Promise<Progress> {
    const { order, server } = work;
    const url = order.status?.url ?? "";
    switch (step.type) {
      case "create":
        return this.#create(work);
      case "challenge":
        return this.#challenge(work);
      case "accept":
        return this.#accept(step.challenge, server);
      case "poll":
        return this.#note(work, await server.readOrder(url));
      case "finalize": {
        // It may have been finalized just before the record of that was lost.
        const now = await server.readOrder(url);
        if (now.state !== "ready") return this.#note(work, now);
        const request = Buffer.from(order.spec.request, "base64").toString();
        return this.#note(work, await server.finalize(now, request));
      }
      case "download": {
        const { preferredChain } = work.issuer.spec.acme;
        const chain = await server.download(await server.readOrder(url), preferredChain);
        const certificate = Buffer.from(chain).toString("base64");
        return this.#write(order, { state: "valid", reason: undefined, certificate });
      }
      case "rest":
      case "expire":
        return "same";
    }
    return "same";
  }

  async #create({ order, issuer, server }: Work): Promise<Progress> {
    const { dnsNames, duration, profile } = order.spec;
    const lifeMs = duration === undefined ? undefined : parseDuration(duration);
    const asks = issuer.spec.acme.enableDurationFeature === true && lifeMs !== undefined;
    const made = await server.order({
      dnsNames,
      ...(asks && { notAfter: toTimestamp(this.#options.clock.now() + lifeMs) }),
      ...(profile !== undefined && { profile }),
    });
    return this.#write(order, {
      url: made.url,
      finalizeURL: made.finalizeUrl,
      state: made.state,
      reason: undefined,
      authorizations: made.authorizations.map((url) => ({ url })),
      ...(made.expires !== undefined && { expires: made.expires }),
    });
  }

  /** Reads what is to be proven and makes a Challenge of each that is not proven yet. */
  async #challenge(work: Work): Promise<Progress> {
    const { order, server } = work;
    const read: AcmeAuthorization[] = [];
    for (const { url } of order.status?.authorizations ?? []) {
      read.push(await server.readAuthorization(url));
    }
    const authorizations = read.map(({ url, dnsName, wildcard }) => ({
      url,
      identifier: dnsName,
      wildcard,
    }));
    const changes: Change[] = [];
    for (const authorization of read.filter(({ status }) => status !== "valid")) {
      const drafted = await this.#draft(authorization, work);
      if ("problem" in drafted) {
        return this.#write(order, { authorizations, ...this.#failed("errored", drafted.problem) });
      }
      const { namespace, name } = drafted.draft.metadata;
      if (this.#options.store.get("Challenge", namespace, name) !== undefined) continue;
      changes.push({ op: "create", resource: drafted.draft });
    }
    return this.#write(order, { authorizations }, changes);
  }

  async #draft(
    authorization: AcmeAuthorization,
    { order, certificate, issuer, server }: Work,
  ): Promise<{ readonly draft: ResourceDraft } | { readonly problem: string }> {
    const { dnsName, wildcard, challenges, url } = authorization;
    const what = wildcard ? `*.${dnsName}` : dnsName;
    // Nothing is answered for a name that nobody here has asked a certificate for.
    if (!order.spec.dnsNames.some((name) => name.toLowerCase() === what.toLowerCase())) {
      return { problem: `the CA wants ${JSON.stringify(what)} proven, which was not ordered` };
    }
    const offered = challenges.find(({ type }) => type === "http-01");
    if (offered === undefined) {
      const types = challenges.map(({ type }) => type).join(", ");
      return { problem: `the CA wants ${what} proven by ${types}; only http-01 is supported` };
    }
    const { labels = {}, namespace } = certificate.metadata;
    const solver = solverFor(issuer.spec.acme.solvers, dnsName, labels);
    if (solver === undefined) return { problem: `no solver of the issuer is for ${dnsName}` };
    const { name, uid } = order.metadata;
    const { apiVersion, kind } = order;
    const extra = solver.http01.gatewayHTTPRoute?.labels;
    const gateways = this.#options.store.list("Gateway", namespace);
    const draft: ResourceDraft = {
      apiVersion,
      kind: "Challenge",
      metadata: {
        name: `${name}-${contentHash(offered.token).slice(0, 8)}`,
        namespace,
        ...(extra !== undefined && { labels: extra }),
        ownerReferences: [{ apiVersion, kind, name, uid, controller: true }],
      },
      spec: {
        type: "HTTP-01",
        url: offered.url,
        authorizationURL: url,
        dnsName,
        token: offered.token,
        key: await server.keyAuthorization(offered.token),
        issuerRef: order.spec.issuerRef,
        parentRefs: answeringGateways(solver, certificate, gateways),
      },
    };
    // What a CA made up must not reach a path or an answer unchecked.
    return isToken(offered.token) ? { draft } : { problem: "the CA's token is not base64url" };
  }

  async #accept(challenge: Challenge, server: AcmeServer): Promise<Progress> {
    const { url, authorizationURL } = challenge.spec;
    // The CA may have been told just before the record of that was lost.
    const { status, challenges } = await server.readAuthorization(authorizationURL);
    const now = challenges.find((one) => one.url === url);
    if (status === "pending" && now?.status === "pending") await server.accept(url);
    const next = { ...challenge.status, presented: true, processing: true, state: "processing" };
    await this.#options.store.commit([{ op: "status", resource: { ...challenge, status: next } }]);
    return "changed";
  }

  /** Takes down how the CA says that the order stands. */
  async #note({ order, server }: Work, now: AcmeOrder): Promise<Progress> {
    const { state } = now;
    if (state === order.status?.state) return "same";
    if (state !== "invalid") return this.#write(order, { state, reason: undefined });
    const reason = now.problem ?? (await whyInvalid(now, server));
    return this.#write(order, this.#failed("invalid", reason));
  }

  #failed(state: "invalid" | "expired" | "errored", reason: string): Status {
    return { state, reason, failureTime: toTimestamp(this.#options.clock.now()) };
  }

  /** Writes over the order as it is now, unless it is gone. */
  async #write(
    order: Order,
    status: { readonly [Field in keyof Status]: Status[Field] | undefined },
    changes: readonly Change[] = [],
  ): Promise<Progress> {
    const { store } = this.#options;
    const { namespace, name, uid } = order.metadata;
    const now = store.get("Order", namespace, name);
    if (now?.metadata.uid !== uid) return "changed";
    const next = JSON.parse(JSON.stringify({ ...now.status, ...status })) as Resource["status"];
    await store.commit([{ op: "status", resource: { ...now, status: next } }, ...changes]);
    return "changed";
  }
}

const TOKEN = /^[A-Za-z0-9_-]{1,512}$/;

function isToken(token: string): boolean {
  return TOKEN.test(token);
}

async function whyInvalid(order: AcmeOrder, server: AcmeServer): Promise<string> {
  for (const url of order.authorizations) {
    const { dnsName, challenges } = await server.readAuthorization(url);
    const failed = challenges.find(({ problem }) => problem !== undefined);
    if (failed !== undefined) return `${dnsName}: ${failed.problem}`;
  }
  return "the CA says that the order is invalid";
}

/** The Challenges of an order. */
export function challengesOf(store: Pick<Store, "list">, order: Order): readonly Challenge[] {
  const { namespace, uid } = order.metadata;
  return store
    .list("Challenge", namespace)
    .filter(({ metadata }) => metadata.ownerReferences?.some((owner) => owner.uid === uid) === true)
    .map((challenge) => challenge as Resource & Challenge);
}

/** Whether a commit failed because others had written first. */
export function isLate(error: unknown): boolean {
  return error instanceof StoreError && error.code !== "Unavailable";
}
