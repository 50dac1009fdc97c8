/** Options that several commands share, and how their values are read. */
import { type Command, InvalidArgumentError, Option } from "commander";
import type { LogLevel } from "../base/log.ts";
import { refuseListen } from "../admin/guard.ts";
import { parseDuration } from "../base/duration.ts";
import { ACCESS_FIELDS, parseAccessTemplate } from "../proxy/access-template.ts";
import { SettingError, traceSettings, type TraceSettings } from "../trace/settings.ts";
import { CommandError, EXIT } from "./exit.ts";
import { defaultWorkers, type ServeOptions } from "./serve.ts";

const DEFAULT_SERVER = "http://127.0.0.1:9900";
const WORKERS_MAX = 256;

export function parseWholeNumber(min: number, max: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (Number.isInteger(value) && value >= min && value <= max) return value;
    throw new InvalidArgumentError(`must be a whole number from ${min} to ${max}`);
  };
}

export function parseDurationOption(text: string): number {
  const value = parseDuration(text);
  if (value === undefined) throw new InvalidArgumentError("must be a duration, such as 30s or 1m");
  return value;
}

/** A share of requests; none would be `--access-log off`. */
function parseSample(text: string): number {
  const value = Number(text);
  if (value > 0 && value <= 1) return value;
  throw new InvalidArgumentError("must be a number above 0 and at most 1, such as 0.1");
}

function parseAccessLogFormat(text: string): string {
  if (text === "json") return text;
  const template = parseAccessTemplate(text);
  if (typeof template === "string") throw new InvalidArgumentError(template);
  return text;
}

export function collect(value: string, before: readonly string[] = []): string[] {
  return [...before, value];
}

/** What a template of the access log can name, as the end of a help text. */
export const ACCESS_LOG_HELP = `
Fields of --access-log-format, as in '%{client} "%{method} %{path}" %{status} %{durationUs}':
  ${ACCESS_FIELDS.join(" ")
    .replaceAll(/(.{1,76})(?: |$)/g, "$1\n  ")
    .trimEnd()}`;

/** The examples at the end of a command's help. */
export function examples(...lines: readonly string[]): string {
  return `\nExamples:\n${lines.map((line) => `  ${line}`).join("\n")}`;
}

export interface ServerFlags {
  readonly server: string;
}

export interface NamespaceFlags extends ServerFlags {
  readonly namespace: string;
}

/** For commands that speak to a running Sluice. */
export function withServer(command: Command): Command {
  return command.option(
    "--server <url>",
    "the admin API",
    parseServer,
    process.env["SLUICE_SERVER"] ?? DEFAULT_SERVER,
  );
}

/** For commands that name resources. */
export function withNamespace(command: Command): Command {
  return withServer(command).option("-n, --namespace <name>", "of the resources", "default");
}

function parseServer(text: string): string {
  if (URL.canParse(text) && new URL(text).protocol === "http:") return text;
  throw new InvalidArgumentError("must be a URL such as http://127.0.0.1:9900");
}

export function parseAdmin(text: string): string {
  const [, host = "", port] = /^(.+):(\d{1,5})$/.exec(text) ?? [];
  if (port === undefined || Number(port) > 65_535) {
    throw new InvalidArgumentError("must be HOST:PORT, such as 127.0.0.1:9900");
  }
  const refusal = refuseListen(host.replaceAll(/^\[|\]$/g, ""));
  if (refusal !== undefined) throw new InvalidArgumentError(refusal);
  return text;
}

export interface ServeFlags {
  readonly admin: string;
  readonly workers: number;
  readonly accessLog: string;
  readonly accessLogFormat: string;
  readonly accessLogSample: number;
  readonly accessLogSampleErrors: number;
  readonly drainDelay: number;
  readonly drainTimeout: number;
  readonly logLevel: LogLevel;
  readonly otlpEndpoint?: string;
  readonly traceRatio?: number;
}

/** For commands that serve; `accessLog` is where the log goes by default. */
export function withServe(command: Command, accessLog: "-" | "off"): Command {
  return command
    .option("--admin <host:port>", "address of the admin API", parseAdmin, "127.0.0.1:9900")
    .option(
      "--workers <n>",
      "threads that carry traffic",
      parseWholeNumber(1, WORKERS_MAX),
      defaultWorkers(),
    )
    .option(
      "--access-log <path>",
      'a file (reopened at SIGHUP), "-" for standard output, or "off"',
      accessLog,
    )
    .option(
      "--access-log-format <format>",
      '"json", or a template of %{field}',
      parseAccessLogFormat,
      "json",
    )
    .option("--access-log-sample <share>", "log this share of the requests", parseSample, 1)
    .option(
      "--access-log-sample-errors <share>",
      "the same for requests that failed: 5xx, 499, broken off, or hidden by stable",
      parseSample,
      1,
    )
    .addOption(
      new Option(
        "--drain-delay <duration>",
        "after SIGTERM, serve on for so long while /readyz fails",
      )
        .argParser(parseDurationOption)
        .default(5000, "5s"),
    )
    .addOption(
      new Option("--drain-timeout <duration>", "cut what is still in flight so long after SIGTERM")
        .argParser(parseDurationOption)
        .default(25_000, "25s"),
    )
    .addOption(
      new Option("--log-level <level>", "of the log on standard error")
        .choices(["info", "warn", "error", "silent"])
        .default("warn"),
    )
    .option(
      "--otlp-endpoint <url>",
      "an OpenTelemetry collector that gets traces; also by OTEL_EXPORTER_OTLP_ENDPOINT",
    )
    .option(
      "--trace-ratio <share>",
      "of the traces that begin here, 0 to 1; errors and canaries are always exported",
      parseShare,
    );
}

function parseShare(text: string): number {
  const value = text.trim() === "" ? Number.NaN : Number(text);
  if (value >= 0 && value <= 1) return value;
  throw new InvalidArgumentError("must be a number from 0 to 1, such as 0.01");
}

export function toServeOptions(
  flags: ServeFlags,
  what: { readonly files: readonly string[]; readonly dataDirectory: string },
): ServeOptions {
  if (flags.drainDelay > flags.drainTimeout) {
    throw new CommandError(
      "--drain-delay: must not be longer than --drain-timeout, of which it is a part",
      EXIT.usage,
    );
  }
  return {
    ...what,
    adminAddress: flags.admin,
    workers: flags.workers,
    accessLog: {
      destination: flags.accessLog === "off" ? "" : flags.accessLog,
      format: flags.accessLogFormat,
      sample: flags.accessLogSample,
      sampleErrors: flags.accessLogSampleErrors,
    },
    drainTimeoutMs: flags.drainTimeout,
    drainDelayMs: flags.drainDelay,
    reopensOnHangup: true,
    logLevel: flags.logLevel,
    traces: toTraceSettings(flags),
  };
}

function toTraceSettings(flags: ServeFlags): TraceSettings | undefined {
  try {
    return traceSettings(process.env, flags);
  } catch (error) {
    if (error instanceof SettingError) throw new CommandError(error.message, EXIT.usage);
    throw error;
  }
}
