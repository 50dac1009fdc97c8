/**
 * What the API answers when it refuses: `metav1.Status`, worded as the Kubernetes API server words
 * it, because clients match on reason and code and people on the text. Messages name fields and
 * resources, never values of Secrets.
 */
import type { JsonObject } from "../base/json.ts";
import type { Issue } from "../resource/issue.ts";

export type StatusCause = {
  readonly reason: string;
  readonly message: string;
  readonly field: string;
};

/** A type and not an interface, so that it is JSON to the compiler. */
export type StatusDetails = {
  readonly name?: string;
  readonly group?: string;
  readonly kind?: string;
  readonly uid?: string;
  readonly causes?: readonly StatusCause[];
  readonly retryAfterSeconds?: number;
};

/** Which resource an answer is about, as URLs name it. */
export interface Subject {
  readonly group: string;
  readonly plural: string;
  readonly kind: string;
  readonly name: string;
}

/** An answer that is not a success; thrown by whatever finds the reason, written by the server. */
export class ApiError extends Error {
  override readonly name = "ApiError";
  readonly code: number;
  readonly reason: string;
  readonly details: StatusDetails;

  constructor(
    status: { readonly code: number; readonly reason: string },
    message: string,
    details: StatusDetails = {},
  ) {
    super(message);
    this.code = status.code;
    this.reason = status.reason;
    this.details = details;
  }

  /** The `metav1.Status` that a client gets. */
  toStatus(): JsonObject {
    return {
      kind: "Status",
      apiVersion: "v1",
      metadata: {},
      status: "Failure",
      message: this.message,
      reason: this.reason,
      details: this.details,
      code: this.code,
    };
  }
}

export function badRequest(message: string): ApiError {
  return new ApiError({ code: 400, reason: "BadRequest" }, message);
}

export function forbidden(message: string, details: StatusDetails = {}): ApiError {
  return new ApiError({ code: 403, reason: "Forbidden" }, message, details);
}

/** No such path: the kind is not served, or the version of it is not. */
export function noSuchPath(): ApiError {
  const message = "the server could not find the requested resource";
  return new ApiError({ code: 404, reason: "NotFound" }, message);
}

export function notFound(subject: Subject): ApiError {
  const message = `${qualified(subject)} "${subject.name}" not found`;
  return new ApiError({ code: 404, reason: "NotFound" }, message, detailsOf(subject));
}

export function alreadyExists(subject: Subject): ApiError {
  const message = `${qualified(subject)} "${subject.name}" already exists`;
  return new ApiError({ code: 409, reason: "AlreadyExists" }, message, detailsOf(subject));
}

const STALE =
  "the object has been modified; please apply your changes to the latest version and try again";

/** `why` defaults to Kubernetes' sentence on a stale resourceVersion. */
export function conflict(subject: Subject, why = STALE): ApiError {
  const what = `${qualified(subject)} "${subject.name}"`;
  const message = `Operation cannot be fulfilled on ${what}: ${why}`;
  return new ApiError({ code: 409, reason: "Conflict" }, message, detailsOf(subject));
}

export function methodNotAllowed(method: string): ApiError {
  const message = `the server does not allow this method on the requested resource: ${method}`;
  return new ApiError({ code: 405, reason: "MethodNotAllowed" }, message);
}

/** The watch history or a list's snapshot no longer reaches back to what was asked for. */
export function expired(message: string): ApiError {
  return new ApiError({ code: 410, reason: "Expired" }, message);
}

export function unsupportedMediaType(message: string): ApiError {
  return new ApiError({ code: 415, reason: "UnsupportedMediaType" }, message);
}

export function notAcceptable(message: string): ApiError {
  return new ApiError({ code: 406, reason: "NotAcceptable" }, message);
}

export function tooLarge(message: string): ApiError {
  return new ApiError({ code: 413, reason: "RequestEntityTooLarge" }, message);
}

/**
 * A disk that refuses the write: the same request may succeed later. No Retry-After goes with it,
 * or clients would repeat in silence what a person should hear of at once.
 */
export function unavailable(message: string): ApiError {
  return new ApiError({ code: 503, reason: "ServiceUnavailable" }, message);
}

/** A limit on what clients may hold open is reached; they come back after the time named. */
export function tooManyRequests(message: string, retryAfterSeconds: number): ApiError {
  const status = { code: 429, reason: "TooManyRequests" };
  return new ApiError(status, message, { retryAfterSeconds });
}

/** A write that a rule refuses for a reason that a person can act on. */
export function refused(subject: Subject, why: string): ApiError {
  const message = `${qualified(subject)} "${subject.name}" is forbidden: ${why}`;
  return forbidden(message, detailsOf(subject));
}

/** A document that breaks its schema or a rule; every cause is named. */
export function invalid(subject: Subject, causes: readonly StatusCause[]): ApiError {
  const texts = causes.map((cause) =>
    cause.field === "" ? cause.message : `${cause.field}: ${cause.message}`,
  );
  const list = texts.length === 1 ? texts[0] : `[${texts.join(", ")}]`;
  const owner = subject.group === "" ? subject.kind : `${subject.kind}.${subject.group}`;
  const details = { ...detailsOf(subject), kind: subject.kind, causes };
  return new ApiError(
    { code: 422, reason: "Invalid" },
    `${owner} "${subject.name}" is invalid: ${list}`,
    details,
  );
}

/** As `invalid`, from the issues that parsing found. */
export function invalidIssues(subject: Subject, issues: readonly Issue[]): ApiError {
  const causes = issues.map((issue) => ({
    reason: "FieldValueInvalid",
    message: issue.message,
    field: issue.path,
  }));
  return invalid(subject, causes);
}

/** "backends.sluice.dev", or "secrets" for the core group. */
export function qualified(subject: Pick<Subject, "group" | "plural">): string {
  return subject.group === "" ? subject.plural : `${subject.plural}.${subject.group}`;
}

function detailsOf(subject: Subject): StatusDetails {
  return {
    name: subject.name,
    ...(subject.group === "" ? {} : { group: subject.group }),
    kind: subject.plural,
  };
}
