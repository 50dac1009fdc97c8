/**
 * `/metrics` over HTTP: sent as it is made, compressed where the scraper takes gzip, as Prometheus
 * does. A scraper that does not read makes it wait, for a while; so few may be at it at once that what
 * is kept for them is bounded.
 */
import type { IncomingMessage, ServerResponse } from "node:http";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { constants, createGzip } from "node:zlib";
import type { Clock } from "../base/clock.ts";
import { tooManyRequests } from "./api-error.ts";

/** What is said at one scrape, to be read once. */
export interface Exposition {
  readonly contentType: string;
  readonly pieces: AsyncIterable<string>;
}

const SCRAPES_MAX = 16;
const SCRAPE_MS_MAX = 60_000;

export interface ScrapesOptions {
  readonly metrics: () => Exposition;
  readonly clock: Clock;
  /** Told of what went wrong in the middle of an answer, which breaks off then. */
  readonly onFault?: (message: string, error: unknown) => void;
}

export class Scrapes {
  readonly #options: ScrapesOptions;
  #running = 0;

  constructor(options: ScrapesOptions) {
    this.#options = options;
  }

  /** Rejects with ApiError. */
  async answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    if (this.#running >= SCRAPES_MAX) {
      throw tooManyRequests(`at most ${SCRAPES_MAX} requests for /metrics are served at once`, 1);
    }
    const { metrics, clock, onFault } = this.#options;
    this.#running++;
    const cancel = clock.after(SCRAPE_MS_MAX, () => response.destroy());
    try {
      await send(metrics(), request, response);
    } catch (error) {
      // A scraper that has gone is no fault of ours.
      if ((error as NodeJS.ErrnoException).code === "ERR_STREAM_PREMATURE_CLOSE") return;
      onFault?.("GET /metrics failed", error);
    } finally {
      cancel();
      this.#running--;
    }
  }
}

async function send(
  { contentType, pieces }: Exposition,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const zipped = takesGzip(request.headers["accept-encoding"]);
  response.writeHead(200, {
    "content-type": contentType,
    "cache-control": "no-cache, private",
    "x-content-type-options": "nosniff",
    vary: "accept-encoding",
    ...(zipped && { "content-encoding": "gzip" }),
  });
  if (request.method === "HEAD") {
    response.end();
    return;
  }
  const source = Readable.from(pieces);
  if (zipped) await pipeline(source, createGzip({ level: constants.Z_BEST_SPEED }), response);
  else await pipeline(source, response);
}

/** Whether an Accept-Encoding allows gzip (RFC 9110 §12.5.3). */
export function takesGzip(accepted: string | undefined): boolean {
  const weights = new Map<string, number>();
  for (const item of (accepted ?? "").toLowerCase().split(",")) {
    const [coding = "", ...parameters] = item.split(";").map((part) => part.trim());
    const weight = parameters.find((parameter) => parameter.startsWith("q="))?.slice(2);
    weights.set(coding, weight === undefined ? 1 : Number(weight));
  }
  const weight = weights.get("gzip") ?? weights.get("x-gzip") ?? weights.get("*") ?? 0;
  return weight > 0;
}
