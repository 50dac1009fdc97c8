/** A steady, open-loop stream of requests for end-to-end tests, and a record of every answer. */
import { Pool } from "undici";

export interface LoadResult {
  /** Milliseconds on the test's monotonic clock. */
  readonly sentAtMs: number;
  readonly doneAtMs: number;
  /** HTTP status, or 0 where there was no answer. */
  readonly status: number;
  readonly body: string;
}

export interface LoadOptions {
  readonly perSecond: number;
  readonly path?: string;
  readonly method?: "GET" | "POST";
  readonly headers?: () => Record<string, string>;
  readonly connections?: number;
}

const TICK_MS = 10;

export class Load implements AsyncDisposable {
  readonly results: LoadResult[] = [];
  readonly #pool: Pool;
  readonly #options: LoadOptions;
  readonly #ticker: NodeJS.Timeout;
  readonly #startedMs = performance.now();
  #sent = 0;

  constructor(origin: string, options: LoadOptions) {
    this.#options = options;
    this.#pool = new Pool(origin, { connections: options.connections ?? 16 });
    this.#ticker = setInterval(() => this.#tick(), TICK_MS);
  }

  get failed(): LoadResult[] {
    return this.results.filter(({ status }) => status === 0 || status >= 500);
  }

  /** Sends what is due by now, so that a late tick does not lower the rate. */
  #tick(): void {
    const due = ((performance.now() - this.#startedMs) / 1000) * this.#options.perSecond;
    while (this.#sent < due) {
      this.#sent += 1;
      void this.#send();
    }
  }

  async #send(): Promise<void> {
    const { path = "/", method = "GET", headers } = this.#options;
    const sentAtMs = performance.now();
    let status = 0;
    let body = "";
    try {
      const response = await this.#pool.request({
        path,
        method,
        ...(headers === undefined ? {} : { headers: headers() }),
      });
      body = await response.body.text();
      status = response.statusCode;
    } catch (error) {
      body = error instanceof Error ? error.message : String(error);
    }
    this.results.push({ sentAtMs, doneAtMs: performance.now(), status, body });
  }

  /** Stops sending and waits for what is under way. */
  async stop(): Promise<void> {
    clearInterval(this.#ticker);
    await this.#pool.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    clearInterval(this.#ticker);
    await this.#pool.destroy();
  }
}
