/**
 * A CA that speaks ACME (RFC 8555), as far as orders need it: each method is one or a few exchanges
 * with it and keeps nothing. acme-client signs and parses; waiting and trying again is the caller's.
 */
import acme from "acme-client";
import type { Dispatcher } from "undici";
import type { OrderStatus } from "../../resource/acme.ts";
import { createTransport, type Trust, withTransport } from "./acme-transport.ts";

export interface AcmeOrder {
  readonly url: string;
  readonly finalizeUrl: string;
  readonly state: NonNullable<OrderStatus["state"]>;
  /** RFC 3339. */
  readonly expires: string | undefined;
  readonly authorizations: readonly string[];
  /** Where the certificate is, once it is. */
  readonly certificate: string | undefined;
  /** Why it failed, in the CA's words. */
  readonly problem: string | undefined;
}

export interface AcmeChallenge {
  readonly type: string;
  readonly url: string;
  readonly token: string;
  readonly status: string;
  readonly problem: string | undefined;
}

export interface AcmeAuthorization {
  readonly url: string;
  readonly dnsName: string;
  readonly wildcard: boolean;
  readonly status: string;
  readonly challenges: readonly AcmeChallenge[];
}

export interface AcmeOrderRequest {
  readonly dnsNames: readonly string[];
  /** RFC 3339; absent: as the CA likes. */
  readonly notAfter?: string;
  readonly profile?: string;
}

export interface AcmeServer {
  /** Registers the account's key, or finds that it is registered; returns the account's URL. */
  register(email: string | undefined): Promise<string>;
  order(request: AcmeOrderRequest): Promise<AcmeOrder>;
  readOrder(url: string): Promise<AcmeOrder>;
  readAuthorization(url: string): Promise<AcmeAuthorization>;
  /** What is to be answered to a challenge (RFC 8555 §8.1). */
  keyAuthorization(token: string): Promise<string>;
  /** Tells the CA that a challenge's answer is there. */
  accept(challengeUrl: string): Promise<void>;
  /** `request` is PEM. */
  finalize(order: AcmeOrder, request: string): Promise<AcmeOrder>;
  /** The chain as PEM. */
  download(order: AcmeOrder, preferredChain: string | undefined): Promise<string>;
  close(): void;
}

export interface AcmeOptions {
  readonly directoryUrl: string;
  readonly accountKey: string;
  /** Undefined before the account is registered. */
  readonly accountUrl: string | undefined;
  readonly trust: Trust;
  readonly externalAccount: { readonly kid: string; readonly hmacKey: string } | undefined;
  /** Ends all requests. */
  readonly signal: AbortSignal;
}

export type ConnectAcme = (options: AcmeOptions) => Promise<AcmeServer>;

export const connectAcme: ConnectAcme = async (options) => new Connection(options);

class Connection implements AcmeServer {
  readonly #client: acme.Client;
  readonly #carry: { readonly dispatcher: Dispatcher; readonly signal: AbortSignal };

  constructor(options: AcmeOptions) {
    this.#carry = { dispatcher: createTransport(options.trust), signal: options.signal };
    this.#client = new acme.Client({
      directoryUrl: options.directoryUrl,
      accountKey: options.accountKey,
      ...(options.accountUrl !== undefined && { accountUrl: options.accountUrl }),
      ...(options.externalAccount !== undefined && {
        externalAccountBinding: options.externalAccount,
      }),
    });
  }

  register(email: string | undefined): Promise<string> {
    return this.#do(async () => {
      await this.#client.createAccount({
        termsOfServiceAgreed: true,
        contact: email === undefined ? [] : [`mailto:${email}`],
      });
      return this.#client.getAccountUrl();
    });
  }

  order({ dnsNames, ...extra }: AcmeOrderRequest): Promise<AcmeOrder> {
    const identifiers = dnsNames.map((value) => ({ type: "dns", value }));
    return this.#do(async () => orderOf(await this.#client.createOrder({ identifiers, ...extra })));
  }

  readOrder(url: string): Promise<AcmeOrder> {
    return this.#do(async () => orderOf(await this.#client.getOrder({ url } as acme.Order)));
  }

  readAuthorization(url: string): Promise<AcmeAuthorization> {
    return this.#do(async () => {
      const [read] = await this.#client.getAuthorizations({ authorizations: [url] } as acme.Order);
      return authorizationOf(url, read as acme.Authorization);
    });
  }

  keyAuthorization(token: string): Promise<string> {
    const challenge = { type: "http-01", token, url: "", status: "pending" } as const;
    return this.#client.getChallengeKeyAuthorization(challenge);
  }

  async accept(challengeUrl: string): Promise<void> {
    const challenge = { url: challengeUrl } as Parameters<acme.Client["completeChallenge"]>[0];
    await this.#do(() => this.#client.completeChallenge(challenge));
  }

  finalize({ url, finalizeUrl }: AcmeOrder, request: string): Promise<AcmeOrder> {
    const order = { url, finalize: finalizeUrl } as acme.Order;
    return this.#do(async () => orderOf(await this.#client.finalizeOrder(order, request)));
  }

  download(order: AcmeOrder, preferredChain: string | undefined): Promise<string> {
    const { certificate } = order;
    const done = { status: "valid", certificate } as acme.Order;
    return this.#do(() => this.#client.getCertificate(done, preferredChain));
  }

  close(): void {
    void this.#carry.dispatcher.destroy();
  }

  #do<T>(action: () => Promise<T>): Promise<T> {
    return withTransport(this.#carry, action);
  }
}

function orderOf(order: acme.Order): AcmeOrder {
  const { url, finalize, status, expires, authorizations, certificate, error } = order;
  return {
    url,
    finalizeUrl: finalize,
    state: status,
    expires,
    authorizations: authorizations ?? [],
    certificate,
    problem: detailOf(error),
  };
}

function authorizationOf(url: string, read: acme.Authorization): AcmeAuthorization {
  return {
    url,
    dnsName: read.identifier.value,
    wildcard: read.wildcard === true,
    status: read.status,
    challenges: read.challenges.map(({ type, url: at, token, status, error }) => ({
      type,
      url: at,
      token,
      status,
      problem: detailOf(error),
    })),
  };
}

const DETAIL_CHARACTERS_MAX = 1024;

/** RFC 7807. */
function detailOf(error: { readonly detail?: unknown } | undefined): string | undefined {
  const detail = error?.detail;
  return typeof detail === "string" ? detail.slice(0, DETAIL_CHARACTERS_MAX) : undefined;
}
