/**
 * What all kinds of route share: parents, hosts, header matches, time limits, retries, sessions, and
 * their status (Gateway API CommonRouteSpec, RouteStatus). Rules across fields are those of the
 * published CRDs.
 */
import { z } from "zod";
import { parseDuration } from "../base/duration.ts";
import { conditions } from "./condition.ts";
import { gatewayDuration, headerName, hostname } from "./format.ts";
import { checkOwned } from "./header-filter.ts";
import type { Column } from "./kind.ts";
import { parentReference } from "./reference.ts";
import { regexProblem } from "./regex.ts";
import {
  across,
  choice,
  integer,
  object,
  type Refuse,
  refuseDuplicates,
  text,
  throughout,
  words,
} from "./schema.ts";

/** Matches of all rules of a route. */
const MATCHES_MAX = 128;

export const parentRefs = z
  .array(parentReference)
  .max(32)
  .exactOptional()
  .describe("The Gateways that the route attaches to.");

export const routeHostnames = z
  .array(hostname())
  .max(16)
  .exactOptional()
  .describe("Hosts that the route serves; those of the listener where absent.");

export const valueMatchType = choice(["Exact", "RegularExpression"])
  .default("Exact")
  .describe("How the value is compared; expressions are RE2 and must match all of it.");

export const headerMatch = object({
  type: valueMatchType,
  name: headerName().describe(
    "Name of the header; case does not count, and of several spellings the first entry counts.",
  ),
  value: words(4096).describe("The value, or the expression."),
}).superRefine(across(checkExpression));

/** Each spelling of a name may stand once; of several spellings the first counts. */
export function refuseHeaderTwice(
  headers: readonly { readonly name: string }[] | undefined,
  refuse: Refuse,
): void {
  const keyOfItem = (item: { readonly name: string }): string => item.name;
  const options = { path: ["headers"], field: "name", keyOfItem, what: "the header" };
  refuseDuplicates(headers, options, refuse);
}

/** An expression must be one. */
export function checkExpression(
  match: { readonly type: string; readonly value: string },
  refuse: Refuse,
): void {
  const problem = match.type === "RegularExpression" ? regexProblem(match.value) : undefined;
  if (problem !== undefined) refuse(["value"], problem);
}

export const timeouts = object({
  request: gatewayDuration()
    .exactOptional()
    .describe("From the request's head to the response's end, over all attempts; 0s: no limit."),
  backendRequest: gatewayDuration()
    .exactOptional()
    .describe("For one attempt at a backend; at most `request`; 0s: no limit."),
}).superRefine(across(checkTimeouts));

/** `backendRequest` lies within `request` (GEP-1742); 0s means no limit. */
export function checkTimeouts(
  value: { readonly request?: string; readonly backendRequest?: string },
  refuse: Refuse,
): void {
  const requestMs = parseDuration(value.request ?? "0s") ?? 0;
  const attemptMs = parseDuration(value.backendRequest ?? "0s") ?? 0;
  if (requestMs !== 0 && attemptMs > requestMs) {
    refuse(["backendRequest"], `must be at most the request timeout of ${value.request}`);
  }
}

/** Tries beyond the first that a rule may ask for; Gateway API's own tests ask for 100. */
const ATTEMPTS_MAX = 128;

const retryFields = object({
  codes: z
    .array(integer(400, 599))
    .max(200)
    .exactOptional()
    .describe("Status codes of a backend after which the request is sent again."),
  attempts: integer(1, ATTEMPTS_MAX)
    .exactOptional()
    .describe("How often it is sent again at most; 2 where absent."),
  backoff: gatewayDuration()
    .exactOptional()
    .describe("Least wait before it is sent again, doubled from then on; 25ms where absent."),
});

export type Retry = z.infer<typeof retryFields>;

/** Gateway API HTTPRouteRetry (GEP-1731). */
export const retry = retryFields
  .superRefine(
    ...throughout((value: Retry, refuse) => {
      const keyOfItem = (code: number): string => String(code);
      refuseDuplicates(value.codes, { path: ["codes"], keyOfItem, what: "the code" }, refuse);
    }),
  )
  .describe("After a failure to connect, a reset, a time-out or one of `codes`: try again.");

const TOKEN = /^[A-Za-z0-9!#$%&'*+\-.^_`|~]+$/;

const sessionFields = object({
  sessionName: text(TOKEN, "a name of letters, digits and !#$%&'*+-.^_`|~", 128)
    .exactOptional()
    .describe("Name of the cookie or header; made from the rule's where absent."),
  absoluteTimeout: gatewayDuration()
    .exactOptional()
    .describe("A session ends after that long; 0s, or absent: it does not."),
  idleTimeout: gatewayDuration()
    .exactOptional()
    .describe("A session ends when it was unused that long; 0s, or absent: it does not."),
  type: choice(["Cookie", "Header"]).default("Cookie").describe("Where a session is kept."),
  cookieConfig: object({
    lifetimeType: choice(["Permanent", "Session"])
      .default("Session")
      .describe("Permanent: the cookie outlives the browser, for absoluteTimeout."),
  })
    .exactOptional()
    .describe("For type Cookie."),
});

export type SessionPersistence = z.infer<typeof sessionFields>;

/** Gateway API SessionPersistence (GEP-1619). */
export const sessionPersistence = sessionFields
  .superRefine(across(checkSession))
  .describe("Requests of one session go to the same endpoint.");

function checkSession(session: SessionPersistence, refuse: Refuse): void {
  const { type, cookieConfig, absoluteTimeout, sessionName } = session;
  if (cookieConfig !== undefined && type !== "Cookie") {
    refuse(["cookieConfig"], "must be absent for type Header");
  }
  if (cookieConfig?.lifetimeType === "Permanent") {
    if (absoluteTimeout === undefined) {
      refuse(["absoluteTimeout"], "is required for a Permanent cookie");
    } else if (parseDuration(absoluteTimeout) === 0) {
      refuse(["absoluteTimeout"], "must be more than 0s for a Permanent cookie");
    }
  }
  if (type === "Header" && sessionName !== undefined) {
    checkOwned(sessionName, ["sessionName"], refuse);
  }
}

/** Names of rules are unique, and all rules together have no more matches than the CRD lets. */
export function checkRules(
  rules: readonly { readonly name?: string; readonly matches?: readonly unknown[] }[],
  refuse: Refuse,
): void {
  const options = { path: ["rules"], field: "name", what: "the name" };
  refuseDuplicates(rules, { ...options, keyOfItem: (item) => item.name }, refuse);
  const matches = rules.reduce((sum, item) => sum + (item.matches?.length ?? 0), 0);
  if (matches > MATCHES_MAX) {
    refuse(["rules"], `may have at most ${MATCHES_MAX} matches in all, has ${matches}`);
  }
}

/** Two references to one parent must name different sections or ports, and both must name them. */
export function checkParents(
  parents: readonly z.infer<typeof parentReference>[] | undefined,
  refuse: Refuse,
): void {
  const seen: z.infer<typeof parentReference>[] = [];
  for (const [index, parent] of (parents ?? []).entries()) {
    const rival = seen.find((other) => clash(other, parent));
    if (rival !== undefined) {
      refuse(
        ["parentRefs", index],
        `names the Gateway ${parent.name} again: each entry needs a sectionName or port of its own`,
      );
    }
    seen.push(parent);
  }
}

function clash(a: z.infer<typeof parentReference>, b: z.infer<typeof parentReference>): boolean {
  if (a.name !== b.name || (a.namespace ?? "") !== (b.namespace ?? "")) return false;
  if ((a.sectionName === undefined) !== (b.sectionName === undefined)) return true;
  if (a.sectionName !== b.sectionName) return false;
  return a.port === undefined || b.port === undefined || a.port === b.port;
}

export const HOSTNAMES_COLUMN: Column = {
  name: "Hostnames",
  type: "string",
  priority: 0,
  description: "Hosts that the route serves.",
  value: ({ spec }) => {
    const hostnames = spec?.["hostnames"];
    return Array.isArray(hostnames) ? hostnames.join(",") : "*";
  },
};

/** The status of every kind of route (Gateway API RouteStatus). */
export const routeStatus = z
  .looseObject({
    parents: z
      .array(
        z.looseObject({
          parentRef: z.looseObject({}).describe("The Gateway."),
          controllerName: words(253).describe("Who wrote this entry."),
          conditions,
        }),
      )
      .max(32)
      .exactOptional()
      .describe("State of the route at each of its parents."),
  })
  .describe("What Sluice has made of the route.");

export type RouteStatus = z.infer<typeof routeStatus>;
