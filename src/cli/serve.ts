/** What `up`, `proxy` and `demo` share: one running Sluice in this process, from options to its end. */
import { availableParallelism } from "node:os";
import { createLogger, type LogLevel } from "../base/log.ts";
import { StartError, Supervisor } from "../process/supervisor.ts";
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
  /** A path, "-" for standard output, "" for none. */
  readonly accessLog: string;
  readonly graceMs: number;
  /** Where spans go; undefined where nothing is traced. */
  readonly traces?: TraceSettings | undefined;
  readonly logLevel: LogLevel;
}

export interface Running {
  /** http://HOST:PORT of the admin API. */
  readonly adminUrl: string;
  /** Resolves when the process is asked to stop. */
  readonly asked: Promise<void>;
  /** Drains and ends every thread, then lets go of the data directory. */
  stop(): Promise<void>;
}

export function defaultWorkers(): number {
  return availableParallelism();
}

/** Starts Sluice and resolves once traffic is served. Throws CommandError with what to do about it. */
export async function serve(options: ServeOptions): Promise<Running> {
  outliveReader();
  const asked = untilAsked();
  const release = lock(options.dataDirectory);
  const { files, dataDirectory, adminAddress, logLevel, accessLog, workers, graceMs, traces } =
    options;
  const supervisor = new Supervisor({
    control: { files, dataDirectory, adminAddress, logLevel },
    worker: { accessLog, logLevel },
    workers,
    graceMs,
    ...(traces === undefined ? {} : { traces }),
    log: createLogger("main", logLevel),
  });
  const stop = async (): Promise<void> => {
    await supervisor.stop();
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

/**
 * Resolves at SIGTERM, at SIGINT, and at SIGHUP, which says that the terminal was closed; a second
 * SIGTERM or SIGINT ends the process at once.
 */
async function untilAsked(): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  for (const signal of ["SIGTERM", "SIGINT", "SIGHUP"] as const) process.once(signal, resolve);
  await promise;
  process.on("SIGINT", () => process.exit(130));
  process.on("SIGTERM", () => process.exit(143));
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

/** Resolves with the exit code once the process was asked to stop and has drained. */
export async function untilStopped(running: Running, onStopping: () => void): Promise<number> {
  await running.asked;
  onStopping();
  await running.stop();
  return EXIT.ok;
}
