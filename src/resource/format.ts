/**
 * The forms of text that Kubernetes and Gateway API share: names, hostnames, header names, paths,
 * durations, addresses. Where a text can reach a head on the wire, its form rules out every byte
 * that could end a line there (RFC 9112 §5.5).
 */
import { isIP } from "node:net";
import { z } from "zod";
import { GATEWAY_DURATION, parseDuration } from "../base/duration.ts";
import { quoted, text } from "./schema.ts";

const DNS_LABEL = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?$/;
const DNS_NAME = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/;
const GROUP = /^$|^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/;
const KIND = /^[a-zA-Z]([-a-zA-Z0-9]*[a-zA-Z0-9])?$/;
const HOSTNAME = /^(\*\.)?[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/;
const TOKEN = /^[A-Za-z0-9!#$%&'*+\-.^_`|~]+$/;
const FIELD_VALUE = /^[\t\x20-\x7e\x80-\xff]*$/;
const PATH = /^\/(?:[-A-Za-z0-9/._~!$&'()*+,;=:@]|%[0-9a-fA-F]{2})*$/;
const PATH_REPLACEMENT = /^(?:[-A-Za-z0-9/._~!$&'()*+,;=:@]|%[0-9a-fA-F]{2})*$/;
const PATH_FORBIDDEN = ["//", "/./", "/../", "%2f", "%2F", "#"];

/** The name of a resource: RFC 1123 subdomain, at most 253 characters. */
export function resourceName(): z.ZodString {
  return text(DNS_NAME, "lower-case letters, digits, '-' and '.', as in a DNS name");
}

/** A namespace, RFC 1123 label: at most 63 characters. */
export function namespaceName(): z.ZodString {
  return text(DNS_LABEL, "lower-case letters, digits and '-', as in a DNS label", 63);
}

/** The name of a listener or rule inside its resource (Gateway API SectionName). */
export function sectionName(): z.ZodString {
  return text(DNS_NAME, "lower-case letters, digits, '-' and '.', as in a DNS name");
}

/** An API group; "" is the core group. */
export function apiGroup(): z.ZodString {
  return text(GROUP, 'an API group such as "gateway.networking.k8s.io", or "" for the core group');
}

export function kindName(): z.ZodString {
  return text(KIND, "the name of a kind such as Service", 63);
}

/** Gateway API Hostname: RFC 1123, optionally with "*." before it, and no IP address. */
export function hostname(): z.ZodString {
  return text(HOSTNAME, 'a hostname such as "shop.example.com" or "*.example.com"').refine(
    (name) => isIP(name) === 0,
    { error: "must be a hostname, not an IP address" },
  );
}

/** Gateway API PreciseHostname: no wildcard. */
export function preciseHostname(): z.ZodString {
  return text(DNS_NAME, 'a hostname without wildcard, such as "shop.example.com"');
}

/** An HTTP field name: token of RFC 9110 §5.6.2, at most 256 characters. */
export function headerName(): z.ZodString {
  return text(TOKEN, "a header name: letters, digits and !#$%&'*+-.^_`|~", 256);
}

/** A field value that may be written into a head: no control character, no letter beyond U+00FF. */
export function headerValue(): z.ZodString {
  return z.string().min(1).max(4096).regex(FIELD_VALUE, {
    error: "must hold no control characters and no letters beyond Latin-1",
  });
}

/** What is wrong with the path of an Exact or PathPrefix match (Gateway API HTTPPathMatch). */
export function pathProblem(path: string): string | undefined {
  if (!path.startsWith("/")) return `must start with "/", is ${quoted(path)}`;
  const forbidden = PATH_FORBIDDEN.find((part) => path.includes(part));
  if (forbidden !== undefined) return `must not contain "${forbidden}", is ${quoted(path)}`;
  if (path.endsWith("/.") || path.endsWith("/..")) {
    return `must not end with "/." or "/..", is ${quoted(path)}`;
  }
  if (PATH.test(path)) return undefined;
  return `may hold letters, digits, "-._~!$&'()*+,;=:@/" and %HH alone, is ${quoted(path)}`;
}

/** A path, or part of one, that is written into a request line or a Location. */
export function pathReplacement(): z.ZodString {
  return text(PATH_REPLACEMENT, "of the characters that a URL path may hold", 1024);
}

/** A Gateway API duration (GEP-2257), such as "10s" or "1h30m". */
export function gatewayDuration(): z.ZodString {
  return text(GATEWAY_DURATION, 'a duration such as "500ms", "10s" or "1h30m"', 32);
}

/** As `gatewayDuration`, above zero: where nothing is waited for without end. */
export function positiveDuration(): z.ZodString {
  return gatewayDuration().refine((value) => /[1-9]/.test(value), {
    error: "must be more than 0s",
  });
}

/** A Go duration as Argo's fields take it, or a text with `{{args.…}}` in it. */
export function argoDuration(): z.ZodString {
  return z
    .string()
    .max(1024)
    .refine((value) => value.includes("{{") || parseDuration(value) !== undefined, {
      error: ({ input }) => `must be a duration such as "10s" or "1h30m", is ${quoted(input)}`,
    });
}

const USERINFO = /^[a-z][-+.a-z0-9]*:[/\\]*([^/?#\\]*)@/i;

/** User and password of a URL, though it may not be well-formed; "" where there are none. */
export function userinfoOf(url: string): string {
  return USERINFO.exec(url)?.[1] ?? "";
}

/**
 * What is wrong with a URL that Sluice asks: it is of one of these schemes, such as "https:", and holds
 * no credentials, for whoever may read the resource would see them.
 */
export function urlProblem(url: string, schemes: readonly string[]): string | undefined {
  const parsed = URL.parse(url);
  const credentials = `${userinfoOf(url)}${parsed?.username ?? ""}${parsed?.password ?? ""}`;
  if (credentials !== "") {
    return "must hold no user and password: whoever reads the resource would see them";
  }
  if (parsed !== null && schemes.includes(parsed.protocol)) return undefined;
  return `must be an ${schemes.map((one) => `${one}//`).join(" or ")} URL, is ${quoted(url)}`;
}

export function ipAddress(): z.ZodString {
  return z
    .string()
    .max(64)
    .refine((value) => isIP(value) !== 0, {
      error: ({ input }) => `must be an IP address, is ${quoted(input)}`,
    });
}

/** RFC 3339. */
export function timestamp(): z.ZodString {
  return text(
    /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)$/,
    'a time such as "2026-01-31T12:00:00Z"',
    40,
  );
}

/** Whether `range` is one of addresses such as "10.0.0.0/8" or "2001:db8::/32". */
export function isCidr(range: string): boolean {
  const slash = range.indexOf("/");
  const address = slash === -1 ? "" : range.slice(0, slash);
  // A zone says through which link, which nobody asks of a range.
  const family = address.includes("%") ? 0 : isIP(address);
  const bits = range.slice(slash + 1);
  return family !== 0 && /^\d{1,3}$/.test(bits) && Number(bits) <= (family === 4 ? 32 : 128);
}
