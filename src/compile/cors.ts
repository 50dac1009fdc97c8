/** The CORS filter in the form that workers apply (Gateway API `HTTPCORSFilter`). */
import type { CorsFilter } from "../resource/cors-filter.ts";
import type { Cors, OriginMatch } from "./rule-part.ts";

export function readCors(filter: CorsFilter): Cors {
  return {
    allowOrigins: (filter.allowOrigins ?? []).map(readOrigin),
    allowCredentials: filter.allowCredentials ?? false,
    allowMethods: filter.allowMethods ?? [],
    allowHeaders: filter.allowHeaders ?? [],
    exposeHeaders: filter.exposeHeaders ?? [],
    maxAgeSeconds: filter.maxAge ?? 5,
  };
}

const OWN_PORT = /^(?:http:\/\/(.*):80|https:\/\/(.*):443)$/;

/** Browsers write origins in lower case, and leave out a port that is the scheme's own. */
function readOrigin(origin: string): OriginMatch {
  if (origin === "*") return { type: "Any" };
  const lower = origin.toLowerCase();
  const value = OWN_PORT.test(lower) ? lower.slice(0, lower.lastIndexOf(":")) : lower;
  const star = value.indexOf("*");
  if (star === -1) return { type: "Exact", value };
  return { type: "Wildcard", prefix: value.slice(0, star), suffix: value.slice(star + 1) };
}
