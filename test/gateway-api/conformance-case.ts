/**
 * The cases of the conformance tests, as `shared/cases/gateway-api/README.md` describes them, and
 * cases of our own in the same form (in `cases/`, as YAML).
 */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { parse } from "yaml";
import { SUPPORTED_FEATURES } from "../../src/compile/features.ts";

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
    /** By the backend that answers, or by a status, "500", of the gateway's own. */
    readonly expectedShare?: Readonly<Record<string, number>>;
    readonly toleranceAbsolute?: number;
    /** Requests under way at a time. */
    readonly concurrency?: number;
    /** A gRPC method, in place of a request. */
    readonly call?: string;
  };
  readonly routeConditions?: readonly {
    readonly type: string;
    readonly status: string;
    readonly reason: string;
  }[];
}

export interface ConformanceRequest {
  readonly path?: string;
  /** Beside what stands in the path. */
  readonly query?: Readonly<Record<string, string>>;
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
  /** In place of a request. */
  readonly call?: GrpcCall;
  readonly scheme?: string;
  readonly serverName?: string;
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
    /** The name of a gRPC status. */
    readonly code?: string;
  };
  readonly mirroredTo?: readonly Mirrored[];
  readonly redirect?: {
    readonly scheme?: string;
    readonly host?: string;
    readonly port?: string;
    readonly path?: string;
  };
  readonly backend?: string;
  readonly namespace?: string;
}

export interface GrpcCall {
  readonly service: string;
  readonly method: string;
  readonly metadata?: Readonly<Record<string, string>>;
  /** The :authority; the address of the Gateway where absent. */
  readonly authority?: string;
}

export interface Mirrored {
  readonly backend: string;
  readonly namespace: string;
  readonly percent?: number;
}

/** Where the cases are, beside the project; a checkout elsewhere does without them. */
export const CASES = new URL("../../../shared/cases/gateway-api/", import.meta.url);

/** Our own cases. */
const OWN = new URL("cases/", import.meta.url);

export function readTests(): readonly ConformanceTest[] {
  return [...readJson(CASES), ...readYaml(OWN)];
}

function readJson(folder: URL): readonly ConformanceTest[] {
  if (!existsSync(folder)) return [];
  return readdirSync(folder)
    .filter((name) => name.endsWith(".cases.json"))
    .map((name) => JSON.parse(readFileSync(new URL(name, folder), "utf8")) as ConformanceTest);
}

function readYaml(folder: URL): readonly ConformanceTest[] {
  return readdirSync(folder)
    .filter((name) => name.endsWith(".cases.yaml"))
    .map((name) => parse(readFileSync(new URL(name, folder), "utf8")) as ConformanceTest);
}

/** The documents of one file, with our class in place of the placeholder. */
export function readManifest(name: string): string {
  const own = new URL(name, OWN);
  const text = readFileSync(existsSync(own) ? own : new URL(name, CASES), "utf8");
  return text.replaceAll("{GATEWAY_CLASS_NAME}", "sluice");
}

/** Features that a test needs and that this version does not serve. */
export function unservedFeatures(test: ConformanceTest): readonly string[] {
  return test.features.filter((feature) => !SUPPORTED_FEATURES.includes(feature));
}
