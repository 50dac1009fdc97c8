/** What `up`, `proxy` and `demo` share: one running Sluice in this process, from options to its end. */
import { availableParallelism } from "node:os";
import { isatty } from "node:tty";
import { createLogger, type LogLevel } from "../base/log.ts";
import type { AccessLogOptions } from "../process/messages.ts";
import { StartError, Supervisor } from "../process/supervisor.ts";
import { sizeThreadPool } from "../process/thread-pool.ts";
import { lockDataDirectory } from "../store/lock.ts";
import type { TraceSettings } from "../trace/settings.ts";
import { CommandError, EXIT } from "./exit.ts";
import { outliveReader } from "./output.ts";

export interface ServeOptions {
  readonly files: readonly string[];
  readonly dataDirectory: string;
  /** "HOST:PORT"; port 0 takes a free one. */
  readonly adminAddress: string;
  readonly workers: number;
  /** Where spans go; undefined where nothing is traced. */
  readonly traces?: TraceSettings | undefined;
  readonly accessLog: AccessLogOptions;
  readonly drainTimeoutMs: number;
  readonly drainDelayMs: number;
  /** SIGHUP reopens log files, as logrotate expects; else it ends, as a closed terminal does. */
  readonly reopensOnHangup: boolean;
  readonly logLevel: LogLevel;
}

/** Who asked for the end: an orchestrator by SIGTERM, or a person. */
type Asked = "SIGTERM" | "SIGINT" | "SIGHUP";

export interface Running {
  /** http://HOST:PORT of the admin API. */
  readonly adminUrl: string;
  /** Resolves when the process is asked to stop. */
  readonly asked: Promise<Asked>;
  /**
   * Drains and ends every thread, then lets go of the data directory. `delayed` where somebody may
   * watch readiness and should have the time to see it fail.
   */
  stop(how?: { readonly delayed: boolean }): Promise<void>;
}

export function defaultWorkers(): number {
  return availableParallelism();
}

/** Starts Sluice and resolves once traffic is served. Throws CommandError with what to do about it. */
export async function serve(options: ServeOptions): Promise<Running> {
  outliveReader();
  sizeThreadPool(availableParallelism());
  const hangup = Promise.withResolvers<Asked>();
  const asked = untilAsked(hangup.promise);
  const release = lock(options.dataDirectory);
  const { files, dataDirectory, adminAddress, logLevel, accessLog, workers, traces } = options;
  const supervisor = new Supervisor({
    control: { files, dataDirectory, adminAddress, logLevel },
    worker: { accessLog },
    workers,
    ...(traces === undefined ? {} : { traces }),
    drainTimeoutMs: options.drainTimeoutMs,
    drainDelayMs: options.drainDelayMs,
    log: createLogger("main", logLevel),
  });
  const hadTerminal = isatty(STANDARD_INPUT);
  process.on("SIGHUP", () => {
    const terminalGone = hadTerminal && !isatty(STANDARD_INPUT);
    if (options.reopensOnHangup && !terminalGone) supervisor.reopenLogs();
    else hangup.resolve("SIGHUP");
  });
  const stop: Running["stop"] = async (how) => {
    await supervisor.stop(how);
    release();
  };
  try {
    const adminPort = await Promise.race([supervisor.ready, asked.then(stoppedEarly)]);
    const host = adminAddress.slice(0, adminAddress.lastIndexOf(":"));
    return { adminUrl: `http://${host}:${adminPort}`, asked, stop };
  } catch (error) {
    await stop();
    if (error instanceof StartError) throw new CommandError(error.message, EXIT.unreachable);
    throw error;
  }
}

const STANDARD_INPUT = 0;

/**
 * Resolves at SIGTERM, at SIGINT, and when the terminal is closed; a second SIGTERM or SIGINT ends the
 * process at once.
 */
async function untilAsked(hangup: Promise<Asked>): Promise<Asked> {
  const { promise, resolve } = Promise.withResolvers<Asked>();
  for (const signal of ["SIGTERM", "SIGINT"] as const) process.once(signal, () => resolve(signal));
  const asked = await Promise.race([promise, hangup]);
  process.on("SIGINT", () => process.exit(130));
  process.on("SIGTERM", () => process.exit(143));
  return asked;
}

function stoppedEarly(): never {
  throw new CommandError("Stopped before it served", EXIT.unreachable);
}

function lock(dataDirectory: string): () => void {
  try {
    return lockDataDirectory(dataDirectory);
  } catch (error) {
    throw new CommandError((error as Error).message, EXIT.unreachable);
  }
}

/**
 * Resolves with the exit code once the process was asked to stop and has drained. Only what sends
 * SIGTERM sends traffic by readiness: a person who presses Ctrl-C is not kept waiting.
 */
export async function untilStopped(running: Running, onStopping: () => void): Promise<number> {
  const asked = await running.asked;
  onStopping();
  await running.stop({ delayed: asked === "SIGTERM" });
  return EXIT.ok;
}
