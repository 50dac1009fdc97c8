/**
 * HTTPRoutes and GRPCRoutes that ask for the same hosts of one listener: the older route has them,
 * the other is refused there (Gateway API `GRPCRouteSpec.hostnames`), for whether a request is a
 * call must not decide which route's rules it is under.
 */
import type { ConditionDraft } from "../resource/resource.ts";
import { keyText } from "../resource/resource.ts";
import { compareAge } from "./age.ts";
import type { Named } from "./age.ts";
import type { Attach, Attaching, Attachment } from "./attach.ts";
import { entryAt } from "./context.ts";
import { intersectHostnames } from "./hostname.ts";
import type { ListenerNode } from "./listeners.ts";
import type { Hostname } from "./program.ts";

/** Where a route is refused, and in favour of which route. */
export type Losses = ReadonlyMap<ListenerNode, string>;

const NONE: Losses = new Map();

export type ConflictingRoute = Attaching & Named;

/** By `keyText` of the route. Nothing is looked at while there are routes of one kind alone. */
export function readLosses(
  attach: Attach,
  http: readonly ConflictingRoute[],
  grpc: readonly ConflictingRoute[],
): ReadonlyMap<string, Losses> {
  const losses = new Map<string, Losses>();
  if (http.length === 0 || grpc.length === 0) return losses;
  const wanted = new Set(grpc.flatMap((route) => placesOf(attach, route)).map(listenerOf));
  const claims = new Map<string, Map<ListenerNode, Map<Hostname, string>>>();
  for (const route of [...http, ...grpc].toSorted(compareAge)) {
    const lost = new Map<ListenerNode, string>();
    const { kind } = route.key;
    const other = claims.get(kind === "GRPCRoute" ? "HTTPRoute" : "GRPCRoute");
    const own = entryAt(claims, kind, () => new Map());
    for (const { listener, hostnames } of placesOf(attach, route)) {
      if (!wanted.has(listener)) continue;
      const owner = ownerOf(other?.get(listener), hostnames);
      if (owner !== undefined) {
        lost.set(listener, owner);
        continue;
      }
      const names = entryAt(own, listener, () => new Map());
      for (const hostname of hostnames) names.set(hostname, keyText(route.key));
    }
    if (lost.size > 0) losses.set(keyText(route.key), lost);
  }
  return losses;
}

function placesOf(attach: Attach, route: Attaching): Attachment["places"] {
  return attach(route).flatMap((one) => one.places);
}

function listenerOf({ listener }: Attachment["places"][number]): ListenerNode {
  return listener;
}

/** The route that has one of these hosts, or a part of them. */
function ownerOf(
  claimed: ReadonlyMap<Hostname, string> | undefined,
  hostnames: readonly Hostname[],
): string | undefined {
  if (claimed === undefined) return undefined;
  for (const hostname of hostnames) {
    const exact = claimed.get(hostname);
    if (exact !== undefined) return exact;
    for (const [other, owner] of claimed) {
      if (intersectHostnames(hostname, other) !== undefined) return owner;
    }
  }
  return undefined;
}

/** An attachment without the listeners that the route lost. */
export function withoutLosses(attachment: Attachment, losses: Losses = NONE): Attachment {
  const places = attachment.places.filter(({ listener }) => !losses.has(listener));
  const first = attachment.places.find(({ listener }) => losses.has(listener));
  if (first === undefined) return attachment;
  const message =
    `Hosts of the route on listener ${first.listener.spec.name} belong to ` +
    `${losses.get(first.listener)}, which is older or first by name; HTTPRoutes and GRPCRoutes ` +
    `cannot share a host`;
  // A route that has other listeners is accepted, and yet nobody should look for its traffic on
  // this one without a word.
  if (places.length > 0) return { ...attachment, places, conflict: refusal("Conflicted", message) };
  return { ...attachment, places, accepted: refusal("Accepted", message) };
}

function refusal(type: "Accepted" | "Conflicted", message: string): ConditionDraft {
  const status = type === "Conflicted" ? "True" : "False";
  const causes = [{ path: ["spec", "hostnames"], message }];
  return { type, status, reason: "HostnameConflict", message, causes };
}

export function sameLosses(a: Losses = NONE, b: Losses = NONE): boolean {
  return a.size === b.size && [...a].every(([listener, owner]) => b.get(listener) === owner);
}
