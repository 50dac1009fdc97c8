/**
 * The life of a request, top to bottom: match → admit → choose arm → attempt; relay and finish
 * follow when the upstream answers (attempt.ts, relay.ts). Every step is synchronous; each either
 * goes on or has answered.
 */
import { upgradeAsked } from "../http1/websocket.ts";
import { admit } from "./admit.ts";
import { startAttempt } from "./attempt.ts";
import { BodyGauge } from "./body-gauge.ts";
import { choose } from "./choose.ts";
import { detectClient, detectScheme, type AddressDetection } from "./client-address.ts";
import { isPreflight } from "./cors.ts";
import type { Exchange } from "./exchange.ts";
import { upstreamHead } from "./forward.ts";
import { isAmbiguous, isMisdirected, isOutdated, matchRule } from "./match.ts";
import { grpcTimeoutMs } from "./grpc.ts";
import { HTTP2 } from "../http2/request.ts";
import type { KnownHead } from "./known-head.ts";
import { startCopies } from "./mirror.ts";
import { handleModels } from "./models.ts";
import type { Peer } from "./peer.ts";
import type { RequestFields } from "./request-fields.ts";
import { redirectLocation, rewriteTarget } from "./rewrite.ts";
import {
  respond,
  respondDirect,
  respondError,
  respondPreflight,
  respondRedirect,
  respondRejection,
} from "./respond.ts";
import { chooseBySession, readSession, type LinkedSession } from "./session.ts";
import type { LinkedArm, LinkedRule, LinkedSocket } from "./snapshot.ts";

/** Takes a request whose head is parsed and of whose body at least the beginning is known. */
export function handle(x: Exchange, socket: LinkedSocket | undefined): void {
  const { detection } = x.peer;
  if (detection !== null && !findClient(x, detection)) return;
  if (!permit(x)) return;
  if (x.head.asksAnew) {
    respondRedirect(x, TEMPORARY_REDIRECT, unescapedTarget(x.head));
    return;
  }
  const isSecure = x.peer.secure !== null || (socket !== undefined && socket.secure);
  if (isSecure && !permitConnection(x, socket)) return;
  const matched = socket === undefined ? undefined : matchRule(socket, x.head);
  if (socket === undefined || matched === undefined) {
    respondError(x, "no_route");
    return;
  }
  if (isAmbiguous(socket, x.head, matched, x.peer.path)) {
    respondError(x, "target_invalid");
    return;
  }
  if (x.trace !== null) x.trace.match = matched.match;
  enter(x, matched.rule);
}

/** Takes a request whose head came before: what it asks for has been judged and matched then. */
export function handleKnown(x: Exchange, known: KnownHead): void {
  x.peer = known.peer;
  if (x.trace !== null) x.trace.match = known.match;
  x.chunkedUp = known.head.chunked;
  enter(x, known.rule);
}

function enter(x: Exchange, rule: LinkedRule): void {
  x.rule = rule;
  // Browsers ask without the key that the request itself will have.
  if (rule.cors !== null && isPreflight(x.head.method, x.head)) {
    respondPreflight(x, rule.cors);
    return;
  }
  const { admitDeps } = x.plane;
  const rejection = admit(rule, x.head, x.peer.clientAddress, admitDeps);
  if (rejection !== null) {
    respondRejection(x, rejection);
    return;
  }
  x.clientId = admitDeps.clientId;
  setTimeouts(x, rule);
  if (x.upgrade && !rule.websocket && rule.models === null) x.upgrade = false;
  // What came of a body with its head came before there was a rule to limit it.
  const bodyBytes = Math.max(x.head.contentLength, x.bytesIn);
  if (bodyBytes > rule.bodyBytesMax && rule.models === null) {
    respondError(x, "body_too_large");
  } else if (rule.directResponse !== null || rule.redirect !== null) {
    answerInstead(x, rule, rule);
  } else if (rule.models !== null) {
    if (x.upgrade) {
      respondError(x, "upgrade_unsupported");
      return;
    }
    continueBody(x);
    handleModels(x, rule);
  } else {
    forward(x, rule);
  }
}

/** Finds out for whom a proxy before this one speaks; false where that must be known and is not. */
function findClient(x: Exchange, detection: AddressDetection): boolean {
  const { clientAddress } = x.client.peer;
  const address = detectClient(detection, x.head, clientAddress);
  if (address === undefined) {
    respondError(x, "client_unknown");
    return false;
  }
  const scheme = detectScheme(detection, x.head, clientAddress);
  x.peer = x.client.peer.speakingFor(address, scheme);
  return true;
}

/** Whether a connection with TLS, or to a port that has it, may carry this request; else 421. */
function permitConnection(x: Exchange, socket: LinkedSocket | undefined): boolean {
  const { secure } = x.peer;
  const { host } = x.head;
  const outdated = socket !== undefined && isOutdated(socket, secure, host);
  if (!outdated && (secure === null || !isMisdirected(socket, secure.listener.hostname, host))) {
    return true;
  }
  // Another connection is let in, or is not, by what holds now.
  if (outdated) x.head.keepAlive = false;
  respondError(x, "misdirected");
  return false;
}

/** Refuses by name what this gateway does not do here; true where the request may go on. */
function permit(x: Exchange): boolean {
  const { head } = x;
  if (head.method === "CONNECT") {
    // What follows may be bytes for the tunnel, and not another request.
    head.keepAlive = false;
    respondError(x, "connect_unsupported");
  } else if (head.method === "TRACE") {
    respondError(x, "method_refused");
  } else if (head.asksHttps && !isAskedSecurely(x.peer)) {
    respondError(x, "misdirected");
  } else if (head.upgrade !== "" && !permitUpgrade(x)) {
    return false;
  } else if (head.path === "*") {
    // About the server as a whole (RFC 9110 §9.3.7), which is this gateway.
    respond(x, {
      status: 204,
      headers: "allow: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS\r\n",
      contentType: "",
      body: "",
    });
  } else {
    return true;
  }
  return false;
}

/**
 * Whether what is to be asked for securely may be given (RFC 9110 §7.4): over TLS, where a proxy that is
 * trusted has told that its client speaks it, and where only a balancer connects, which ends TLS without
 * a word about it.
 */
function isAskedSecurely({ scheme, settings }: Peer): boolean {
  return scheme === "https" || settings?.proxyProtocol === "required";
}

/** RFC 9110 §15.4.8: method and body stay. */
const TEMPORARY_REDIRECT = 307;

/** Where a client that escaped slashes is sent: the same place, as this gateway reads it. */
function unescapedTarget({ path, query }: RequestFields): string {
  // Two slashes at its beginning would name another host (RFC 3986 §4.2).
  const reference = path.startsWith("//") ? `/.${path}` : path;
  return query === "" ? reference : `${reference}?${query}`;
}

function permitUpgrade(x: Exchange): boolean {
  const asked = upgradeAsked(x.head);
  if (asked === "unsupported") respondError(x, "upgrade_unsupported");
  if (asked === "invalid") respondError(x, "websocket_invalid");
  x.upgrade = asked === "websocket";
  return asked === "none" || x.upgrade;
}

function setTimeouts(
  x: Exchange,
  limits: { requestTimeoutMs: number; backendRequestTimeoutMs: number },
): void {
  x.requestTimeoutMs = limits.requestTimeoutMs;
  x.backendRequestTimeoutMs = limits.backendRequestTimeoutMs;
  if (x.requestTimeoutMs > 0) x.deadlineMs = x.startedMs + x.requestTimeoutMs;
  if (x.head.version === HTTP2) {
    const asked = grpcTimeoutMs(x.head.header("grpc-timeout"));
    x.deadlineMs = Math.min(x.deadlineMs, x.startedMs + asked);
  }
}

function locationOf(x: Exchange, redirect: NonNullable<LinkedRule["redirect"]>): string {
  const { scheme, localPort } = x.peer;
  return redirectLocation(redirect, x.head, { scheme, port: localPort });
}

/**
 * Answers instead of a backend, as `answers` says. A body whose length is limited and not known is read
 * first: whether a request is too long must not depend on how fast it comes.
 */
function answerInstead(x: Exchange, answers: InsteadOfBackend, { bodyBytesMax }: LinkedRule): void {
  const isJudged = x.bodyEnded || x.head.contentLength !== -1 || bodyBytesMax === Infinity;
  if (isJudged) {
    answerNow(x, answers);
    return;
  }
  continueBody(x);
  x.collector = new BodyGauge(bodyBytesMax, () => answerNow(x, answers));
}

type InsteadOfBackend = Pick<LinkedRule, "directResponse" | "redirect">;

function answerNow(x: Exchange, { directResponse, redirect }: InsteadOfBackend): void {
  if (directResponse !== null) respondDirect(x, directResponse);
  else if (redirect !== null) respondRedirect(x, redirect.statusCode, locationOf(x, redirect));
}

function forward(x: Exchange, rule: LinkedRule): void {
  const { gates, random } = x.plane;
  const { choice } = x;
  const options = { head: x.head, clientAddress: x.peer.clientAddress, random, gates };
  const isChosen = rule.session !== null && resumeSession(x, rule, rule.session);
  const none = isChosen ? null : choose(choice, rule, rule, options);
  const own = choice.backend;
  // What the backendRef itself answers needs nobody behind it.
  if (own !== null && (own.redirect !== null || own.directResponse !== null)) {
    answerInstead(x, own, rule);
    return;
  }
  if (own !== null && own.cors !== null && isPreflight(x.head.method, x.head)) {
    respondPreflight(x, own.cors);
    return;
  }
  if (none !== null) {
    respondError(x, none === "no_open_arm" ? "no_arm" : "no_backend");
    return;
  }
  if (x.known === null) {
    const head = upstreamHead(x, null);
    if (head === undefined) {
      const edits = own === null ? [] : own.pathEdits;
      const hasTarget = rewriteTarget(x.head, edits, rule.auth) !== undefined;
      respondError(x, hasTarget ? "header_value_invalid" : "target_invalid");
      return;
    }
    x.upstreamHead = head;
  }
  continueBody(x);
  if (own !== null && own.mirrors !== null && !x.upgrade) x.copies = startCopies(x, own.mirrors);
  startAttempt(x, choice.arm as LinkedArm);
}

/** Chooses as the client's session says; false where that says nothing. */
function resumeSession(x: Exchange, { backends }: LinkedRule, session: LinkedSession): boolean {
  x.session = readSession(session, x.head, x.plane.wallTime.epochMs(x.startedMs));
  return chooseBySession(x.choice, x.session, { backends, gates: x.plane.gates });
}

/** The request will be read: a client that asked first is told so (RFC 9110 §10.1.1). */
function continueBody(x: Exchange): void {
  const { head } = x;
  if (head.expectsContinue && !x.bodyEnded && x.bytesIn === 0) {
    x.client.sendContinue();
  }
}
