/**
 * Connections that ended before anything was asked: each is counted by its reason, and the log is told of
 * them. It hears of the first at once, and of those that follow once a minute for each socket and reason:
 * whoever knocks at ports must not fill it.
 */
import { isIPv6 } from "node:net";
import type { PartKey } from "../compile/program.ts";
import {
  REFUSALS,
  WORKER_FIELD,
  WORKER_KEY,
  type MetricRecorder,
  type Refusal,
} from "../shared/metrics.ts";
import { plainAddress } from "./client-address.ts";

/** How often the log is told of more of the same. */
const TELL_MS = 60_000;

const MEANINGS: Readonly<Record<Refusal, string>> = {
  limit: "there are as many as the policy of its port allows",
  proxy_header: "it does not begin with a valid header of the PROXY protocol",
  proxy_header_timeout: "no whole header of the PROXY protocol came in time",
  client_hello: "it does not begin with a ClientHello of TLS",
  no_listener: "no listener with a certificate has the name that is asked for",
  handshake: "the handshake of TLS failed",
  client_certificate: "no valid client certificate was presented",
  handshake_timeout: "the handshake of TLS was not over in time",
};

/** Refusals of one reason at one socket, since the log was told last. */
interface Recent {
  readonly reason: Refusal;
  readonly place: PartKey;
  tellAtMs: number;
  count: number;
  /** Address of the last client. */
  client: string;
}

export interface RefusalsOptions {
  readonly metrics: MetricRecorder;
  /** Writes one line of the log. */
  readonly tell: (message: string) => void;
}

export class Refusals {
  readonly #options: RefusalsOptions;
  readonly #row: number;
  /** At most one for each reason at each socket; forgotten after a minute in which nothing came. */
  readonly #recent = new Map<string, Recent>();

  constructor(options: RefusalsOptions) {
    this.#options = options;
    this.#row = options.metrics.row(WORKER_KEY.route, WORKER_KEY.armId);
  }

  /** A connection of `client` to the socket of part `place` is refused. */
  note(reason: Refusal, { place, client }: { place: PartKey; client: string }): void {
    const { metrics } = this.#options;
    metrics.add(this.#row, WORKER_FIELD.refused + REFUSALS.indexOf(reason), 1);
    const key = `${place} ${reason}`;
    const recent = this.#recent.get(key);
    if (recent === undefined) {
      const tellAtMs = performance.now() + TELL_MS;
      this.#recent.set(key, { reason, place, tellAtMs, count: 0, client });
      this.#tell("a connection", "", { reason, place, client });
      return;
    }
    recent.count++;
    recent.client = client;
  }

  /** Tells what is due by `nowMs`, on performance.now()'s scale; Infinity: all that there is. */
  sweep(nowMs: number): void {
    for (const [key, recent] of this.#recent) {
      if (recent.tellAtMs > nowMs) continue;
      const { count } = recent;
      if (count === 0) {
        this.#recent.delete(key);
        continue;
      }
      this.#tell(`${count} more connection${count === 1 ? "" : "s"}`, "the last ", recent);
      recent.count = 0;
      recent.tellAtMs = nowMs + TELL_MS;
    }
  }

  #tell(
    what: string,
    which: string,
    { reason, place, client }: Pick<Recent, "reason" | "place" | "client">,
  ): void {
    const from = `${which}from ${plainAddress(client)}`;
    this.#options.tell(
      `Refused ${what} to ${placeText(place)}, ${from} (${reason}): ${MEANINGS[reason]}`,
    );
  }
}

/** The address and port in the key of a socket part, as a URL has them. */
function placeText(place: PartKey): string {
  if (place === "") return "a socket that is gone";
  const text = place.slice("socket/".length);
  const address = text.slice(0, text.lastIndexOf(":"));
  return isIPv6(address) ? `[${address}]${text.slice(address.length)}` : text;
}
