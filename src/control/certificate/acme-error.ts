/** What a CA says when it does not do what it was asked. */

/** How long a CA may ask for patience at most: its longest limits are for a week. */
export const RETRY_AFTER_MS_MAX = 7 * 24 * 3_600_000;

/** What a CA answered that was not a success, or that it could not be reached. */
export class AcmeError extends Error {
  /** "urn:ietf:params:acme:error:…", or "" where it said none. */
  readonly type: string;
  /** HTTP status; 0 where there was no answer. */
  readonly status: number;
  /** What Retry-After said; 0 where it said nothing. */
  readonly retryAfterMs: number;

  constructor(message: string, problem: Omit<Problem, "message">) {
    super(message);
    this.name = "AcmeError";
    this.type = problem.type;
    this.status = problem.status;
    this.retryAfterMs = problem.retryAfterMs;
  }

  /** Whether asking again in a while may do: the CA is away, busy, or asks for patience. */
  get isPassing(): boolean {
    return this.status === 0 || this.status === 429 || this.status >= 500;
  }
}

export interface Problem {
  readonly message: string;
  readonly type: string;
  readonly status: number;
  readonly retryAfterMs: number;
}
