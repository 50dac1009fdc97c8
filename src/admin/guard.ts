/**
 * Who may talk to the API at all. It listens on loopback without credentials, so what a web page in
 * the user's browser could reach must be shut: a name that was rebound to 127.0.0.1 shows in Host,
 * a cross-site request in Origin, and neither gets past this file.
 */
import { isIPv4, isIPv6 } from "node:net";
import { forbidden } from "./api-error.ts";
import type { ApiError } from "./api-error.ts";

/** Whether `host` is an address or name that only this machine can reach. */
export function isLoopbackHost(host: string): boolean {
  if (host === "localhost" || host === "::1") return true;
  return isIPv4(host) && host.startsWith("127.");
}

/**
 * Why the API does not listen on `host`, or undefined where it may. Anything but loopback needs TLS
 * and tokens, which this version does not have.
 */
export function refuseListen(host: string): string | undefined {
  if (isLoopbackHost(host)) return undefined;
  return (
    `Cannot serve the admin API on ${host}: only loopback addresses (127.0.0.1, [::1], ` +
    "localhost) are supported by this version, because others need TLS and tokens"
  );
}

/** The refusal that a request's Host and Origin call for, or undefined. */
export function refuseRequest(
  host: string | undefined,
  origin: string | undefined,
  listenHost: string,
): ApiError | undefined {
  const name = host === undefined ? undefined : hostName(host);
  if (name === undefined || !isServedName(name, listenHost)) {
    return forbidden(
      "the Host of a request to the admin API must be localhost, 127.0.0.1 or [::1]",
    );
  }
  if (origin !== undefined && origin.toLowerCase() !== `http://${(host ?? "").toLowerCase()}`) {
    return forbidden("requests from other origins are refused");
  }
  return undefined;
}

function isServedName(name: string, listenHost: string): boolean {
  return name === "localhost" || name === "127.0.0.1" || name === "::1" || name === listenHost;
}

/** The host of "HOST", "HOST:PORT" or "[V6]:PORT", lower case and without brackets. */
function hostName(host: string): string | undefined {
  const match = /^(?:\[([0-9a-f:.]+)\]|([a-z0-9.-]+))(?::\d{1,5})?$/.exec(host.toLowerCase());
  if (match === null) return undefined;
  const [, bracketed, plain] = match;
  if (bracketed !== undefined) return isIPv6(bracketed) ? bracketed : undefined;
  return plain;
}
