/** The cases of the conformance tests, as `shared/cases/gateway-api/README.md` describes them. */
import { readdirSync, readFileSync } from "node:fs";

export interface ConformanceTest {
  readonly test: string;
  readonly manifest: string;
  readonly manifestsAll?: readonly string[];
  readonly features: readonly string[];
  readonly cases: readonly ConformanceCase[];
  readonly procedure?: {
    readonly kind: string;
    readonly gateway?: string;
    readonly request?: ConformanceCase["request"];
    readonly totalRequests?: number;
    readonly expectedShare?: Readonly<Record<string, number>>;
    readonly toleranceAbsolute?: number;
  };
  readonly routeConditions?: readonly {
    readonly type: string;
    readonly status: string;
    readonly reason: string;
  }[];
}

export interface ConformanceRequest {
  readonly path?: string;
  readonly host?: string;
  readonly method?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly protocol?: string;
  readonly serverName?: string;
}

export interface ConformanceCase {
  readonly id: string;
  readonly gateway?: string;
  readonly request?: ConformanceRequest & { readonly scheme?: string };
  readonly scheme?: string;
  readonly listenerPort?: number;
  readonly note?: string;
  readonly expectedRequest?: ConformanceRequest & { readonly absentHeaders?: readonly string[] };
  readonly backendSetResponseHeaders?: Readonly<Record<string, string>>;
  readonly response?: {
    readonly statusCode?: number;
    readonly statusCodes?: readonly number[];
    readonly headers?: Readonly<Record<string, string>>;
    readonly validHeaderValues?: Readonly<Record<string, readonly string[]>>;
    readonly absentHeaders?: readonly string[];
    readonly ignoreWhitespace?: boolean;
  };
  readonly redirect?: {
    readonly scheme?: string;
    readonly host?: string;
    readonly port?: string;
    readonly path?: string;
  };
  readonly backend?: string;
  readonly namespace?: string;
}

/** Where the cases are, beside the project; a checkout elsewhere does without them. */
export const CASES = new URL("../../../shared/cases/gateway-api/", import.meta.url);

export function readTests(): readonly ConformanceTest[] {
  return readdirSync(CASES)
    .filter((name) => name.endsWith(".cases.json"))
    .map((name) => JSON.parse(readFileSync(new URL(name, CASES), "utf8")) as ConformanceTest);
}

/** The documents of one file, with our class in place of the placeholder. */
export function readManifest(name: string): string {
  return readFileSync(new URL(name, CASES), "utf8").replaceAll("{GATEWAY_CLASS_NAME}", "sluice");
}

/** What this version serves: HTTP listeners with the features below. */
const SERVED: ReadonlySet<string> = new Set([
  "Gateway",
  "GatewayHTTPListenerIsolation",
  "GatewayPort8080",
  "GatewayStaticAddresses",
  "HTTPRoute",
  "HTTPRoute303RedirectStatusCode",
  "HTTPRoute307RedirectStatusCode",
  "HTTPRoute308RedirectStatusCode",
  "HTTPRouteBackendRequestHeaderModification",
  "HTTPRouteBackendRequestRedirect",
  "HTTPRouteBackendTimeout",
  "HTTPRouteBackendURLRewrite",
  "HTTPRouteHostRewrite",
  "HTTPRouteMethodMatching",
  "HTTPRouteNamedRouteRule",
  "HTTPRouteParentRefPort",
  "HTTPRoutePathRedirect",
  "HTTPRoutePathRewrite",
  "HTTPRoutePortRedirect",
  "HTTPRouteQueryParamMatching",
  "HTTPRouteRequestTimeout",
  "HTTPRouteResponseHeaderModification",
  "HTTPRouteSchemeRedirect",
  "ReferenceGrant",
]);

/** Features that a test needs and that this version does not serve. */
export function unservedFeatures(test: ConformanceTest): readonly string[] {
  return test.features.filter((feature) => !SERVED.has(feature));
}

/** Whether a case speaks to a listener with TLS or in HTTP/2, which this version does not serve. */
export function isPlainHttp(one: ConformanceCase): boolean {
  const scheme = one.scheme ?? one.request?.scheme ?? "http";
  const protocol = one.request?.protocol ?? "HTTP/1.1";
  return scheme.toLowerCase() === "http" && protocol.startsWith("HTTP/1");
}
