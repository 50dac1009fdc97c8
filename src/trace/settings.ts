/**
 * How traces are configured: by OpenTelemetry's environment variables
 * (specification/configuration/sdk-environment-variables.md, specification/protocol/exporter.md) and
 * two flags, which win. What the SDK would only warn of is refused here by name, for a gateway that
 * traces nothing or everything by a slip of the pen is found out too late.
 */
import type { Sampler } from "./trace-context.ts";

export interface TraceSettings {
  /** Where spans are posted, with its path. */
  readonly url: string;
  readonly protocol: Protocol;
  readonly sampler: Sampler;
  /** How long finished spans may wait for others before they are sent together. */
  readonly delayMs: number;
}

const PROTOCOLS = ["http/protobuf", "http/json"] as const;
export type Protocol = (typeof PROTOCOLS)[number];

export interface TraceFlags {
  /** As `OTEL_EXPORTER_OTLP_ENDPOINT`. */
  readonly otlpEndpoint?: string;
  /** Share of the traces that begin here, 0 to 1. */
  readonly traceRatio?: number;
}

export type Environment = Readonly<Record<string, string | undefined>>;

/** A setting that cannot be. Its message names it and says what would be valid. */
export class SettingError extends Error {
  override readonly name = "SettingError";
}

/** The SDK's own is 5 s; a person who looks for a trace has asked for it by then. */
const DELAY_MS = 1000;
const DELAY_MS_MAX = 60_000;
const TIMEOUT_MS_MAX = 60_000;

/** The settings, or undefined where nothing is to be traced. Throws SettingError. */
export function traceSettings(env: Environment, flags: TraceFlags): TraceSettings | undefined {
  if (flag(env, "OTEL_SDK_DISABLED")) return undefined;
  const url = tracesUrl(env, flags);
  if (url === undefined || exportersOf(env) === "none") {
    if (flags.traceRatio === undefined) return undefined;
    throw new SettingError("--trace-ratio: spans go nowhere; --otlp-endpoint says where to");
  }
  refusePropagators(env);
  refuseTransport(env);
  refuseOtherThanPairs(env, "OTEL_EXPORTER_OTLP_HEADERS", HEADER);
  refuseOtherThanPairs(env, "OTEL_EXPORTER_OTLP_TRACES_HEADERS", HEADER);
  refuseOtherThanPairs(env, "OTEL_RESOURCE_ATTRIBUTES", ATTRIBUTE);
  return {
    url,
    protocol: protocolOf(env),
    sampler:
      flags.traceRatio === undefined
        ? samplerOf(env)
        : { parentBased: true, ratio: flags.traceRatio },
    delayMs: numberIn(env, "OTEL_BSP_SCHEDULE_DELAY", [0, DELAY_MS_MAX]) ?? DELAY_MS,
  };
}

/** The value of a variable; one that is empty counts as not there, as the specification says. */
function read(env: Environment, name: string): string | undefined {
  const value = env[name]?.trim();
  return value === "" ? undefined : value;
}

function flag(env: Environment, name: string): boolean {
  const value = read(env, name)?.toLowerCase() ?? "false";
  if (value === "true" || value === "false") return value === "true";
  throw new SettingError(`${name} is "${value}": must be true or false`);
}

function tracesUrl(env: Environment, flags: TraceFlags): string | undefined {
  if (flags.otlpEndpoint !== undefined) return signalUrl(flags.otlpEndpoint, "--otlp-endpoint");
  const own = read(env, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT");
  if (own !== undefined) return endpointUrl(own, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT").href;
  const base = read(env, "OTEL_EXPORTER_OTLP_ENDPOINT");
  return base === undefined ? undefined : signalUrl(base, "OTEL_EXPORTER_OTLP_ENDPOINT");
}

/** The URL of the signal beneath the endpoint of all signals. */
function signalUrl(text: string, name: string): string {
  const { href } = endpointUrl(text, name);
  return `${href}${href.endsWith("/") ? "" : "/"}v1/traces`;
}

/** `text` as the URL of a collector; it is logged, so that it may hold no secret. */
function endpointUrl(text: string, name: string): URL {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url === undefined || (url.protocol !== "http:" && url.protocol !== "https:")) {
    throw new SettingError(`${name}: must be a URL such as http://127.0.0.1:4318`);
  }
  if (url.username !== "" || url.password !== "" || url.search !== "" || url.hash !== "") {
    throw new SettingError(
      `${name}: must be a URL without user, password, query and fragment; ` +
        "credentials go into OTEL_EXPORTER_OTLP_HEADERS",
    );
  }
  return url;
}

function exportersOf(env: Environment): "otlp" | "none" {
  const value = read(env, "OTEL_TRACES_EXPORTER") ?? "otlp";
  if (value === "otlp" || value === "none") return value;
  throw new SettingError(`OTEL_TRACES_EXPORTER is "${value}": must be otlp or none`);
}

function protocolOf(env: Environment): Protocol {
  for (const name of ["OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"]) {
    const value = read(env, name);
    if (value === undefined) continue;
    const protocol = PROTOCOLS.find((known) => known === value);
    if (protocol !== undefined) return protocol;
    throw new SettingError(`${name} is "${value}": must be ${PROTOCOLS.join(" or ")}`);
  }
  return "http/protobuf";
}

const SAMPLERS: Readonly<Record<string, (ratio: number) => Sampler>> = {
  always_on: () => ({ parentBased: false, ratio: 1 }),
  always_off: () => ({ parentBased: false, ratio: 0 }),
  traceidratio: (ratio) => ({ parentBased: false, ratio }),
  parentbased_always_on: () => ({ parentBased: true, ratio: 1 }),
  parentbased_always_off: () => ({ parentBased: true, ratio: 0 }),
  parentbased_traceidratio: (ratio) => ({ parentBased: true, ratio }),
};

function samplerOf(env: Environment): Sampler {
  const name = read(env, "OTEL_TRACES_SAMPLER") ?? "parentbased_always_on";
  if (!Object.hasOwn(SAMPLERS, name)) {
    throw new SettingError(
      `OTEL_TRACES_SAMPLER is "${name}": must be one of ${Object.keys(SAMPLERS).join(", ")}`,
    );
  }
  const ratio = name.endsWith("ratio") ? numberIn(env, "OTEL_TRACES_SAMPLER_ARG", [0, 1]) : 1;
  return (SAMPLERS[name] as (ratio: number) => Sampler)(ratio ?? 1);
}

function numberIn(
  env: Environment,
  name: string,
  [min, max]: readonly [number, number],
): number | undefined {
  const text = read(env, name);
  if (text === undefined) return undefined;
  const value = Number(text);
  if (value >= min && value <= max) return value;
  throw new SettingError(`${name} is "${text}": must be a number from ${min} to ${max}`);
}

/** What the exporter reads by itself, and would pass over where it is not valid. */
function refuseTransport(env: Environment): void {
  for (const prefix of ["OTEL_EXPORTER_OTLP", "OTEL_EXPORTER_OTLP_TRACES"]) {
    numberIn(env, `${prefix}_TIMEOUT`, [1, TIMEOUT_MS_MAX]);
    const compression = read(env, `${prefix}_COMPRESSION`) ?? "none";
    if (compression === "none" || compression === "gzip") continue;
    throw new SettingError(`${prefix}_COMPRESSION is "${compression}": must be none or gzip`);
  }
}

/** Other formats than W3C's are not written, and who relies on one should know. */
function refusePropagators(env: Environment): void {
  for (const part of (read(env, "OTEL_PROPAGATORS") ?? "").split(",")) {
    const name = part.trim();
    if (name === "" || name === "tracecontext" || name === "baggage") continue;
    throw new SettingError(`OTEL_PROPAGATORS has "${name}": must be tracecontext or baggage`);
  }
}

/** The value is not quoted: headers are secrets. */
function refuseOtherThanPairs(env: Environment, name: string, pair: RegExp): void {
  const parts = (read(env, name) ?? "").split(",").filter((part) => part.trim() !== "");
  if (parts.every((part) => pair.test(part) && isDecodable(part))) return;
  throw new SettingError(`${name}: must be KEY=VALUE pairs with commas between, percent-encoded`);
}

const HEADER = /^\s*[!#$%&'*+\-.^_`|~0-9A-Za-z]+\s*=[\t\x20-\x7e]+$/;
const ATTRIBUTE = /^\s*[\x21-\x3c\x3e-\x7e]{1,255}\s*=[\t\x20-\x3c\x3e-\x7e]{0,255}$/;

function isDecodable(text: string): boolean {
  try {
    decodeURIComponent(text);
    return true;
  } catch {
    return false;
  }
}

/**
 * The variables that make the SDK do what `settings` says, beside those of `env`. Batches are made by
 * the export loop, so that it knows what became of each; the SDK's own must never be full before.
 */
export function sdkEnvironment(
  settings: TraceSettings,
  env: Environment,
  version: string,
): Readonly<Record<string, string>> {
  const attributes = read(env, "OTEL_RESOURCE_ATTRIBUTES");
  const has = (key: string): boolean => new RegExp(`(?:^|,)\\s*${key}\\s*=`).test(attributes ?? "");
  const own = [
    ...(has("service\\.name") ? [] : ["service.name=sluice"]),
    ...(has("service\\.version") ? [] : [`service.version=${version}`]),
  ];
  return {
    OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: settings.url,
    OTEL_EXPORTER_OTLP_TRACES_PROTOCOL: settings.protocol,
    OTEL_TRACES_EXPORTER: "otlp",
    OTEL_METRICS_EXPORTER: "none",
    OTEL_LOGS_EXPORTER: "none",
    OTEL_PROPAGATORS: "none",
    // It would make the SDK write to standard output, where the access log may be.
    OTEL_LOG_LEVEL: "",
    OTEL_BSP_MAX_QUEUE_SIZE: String(2 * SPANS_PER_EXPORT_MAX),
    OTEL_BSP_MAX_EXPORT_BATCH_SIZE: String(2 * SPANS_PER_EXPORT_MAX),
    OTEL_RESOURCE_ATTRIBUTES: [...own, ...(attributes === undefined ? [] : [attributes])].join(","),
    // The detector of the process would tell the command line to everyone who may read traces.
    OTEL_NODE_RESOURCE_DETECTORS:
      read(env, "OTEL_NODE_RESOURCE_DETECTORS") ?? "serviceinstance,host,os,env",
  };
}

/** Spans that are sent in one message to the collector. */
export const SPANS_PER_EXPORT_MAX = 512;
