/** What `up`, `proxy` and `demo` share: one running Sluice in this process, from options to its end. */
import { mkdirSync } from "node:fs";
import { availableParallelism } from "node:os";
import { createLogger, type LogLevel } from "../base/log.ts";
import { StartError, Supervisor } from "../process/supervisor.ts";
import { lockDataDirectory } from "../store/lock.ts";
import { CommandError, EXIT } from "./exit.ts";

export interface ServeOptions {
  readonly files: readonly string[];
  readonly dataDirectory: string;
  /** "HOST:PORT"; port 0 takes a free one. */
  readonly adminAddress: string;
  readonly workers: number;
  /** A path, "-" for standard output, "" for none. */
  readonly accessLog: string;
  readonly graceMs: number;
  readonly logLevel: LogLevel;
}

export interface Running {
  /** http://HOST:PORT of the admin API. */
  readonly adminUrl: string;
  readonly supervisor: Supervisor;
  /** Drains and ends every thread, then lets go of the data directory. */
  stop(): Promise<void>;
}

export function defaultWorkers(): number {
  return availableParallelism();
}

/** Starts Sluice and resolves once traffic is served. Throws CommandError with what to do about it. */
export async function serve(options: ServeOptions): Promise<Running> {
  mkdirSync(options.dataDirectory, { recursive: true, mode: 0o700 });
  const release = lock(options.dataDirectory);
  const { files, dataDirectory, adminAddress, logLevel, accessLog, workers, graceMs } = options;
  const supervisor = new Supervisor({
    control: { files, dataDirectory, adminAddress, logLevel },
    worker: { accessLog, logLevel },
    workers,
    graceMs,
    log: createLogger("main", logLevel),
  });
  const stop = async (): Promise<void> => {
    await supervisor.stop();
    release();
  };
  try {
    const adminPort = await supervisor.ready;
    const host = adminAddress.slice(0, adminAddress.lastIndexOf(":"));
    return { adminUrl: `http://${host}:${adminPort}`, supervisor, stop };
  } catch (error) {
    await stop();
    if (error instanceof StartError) throw new CommandError(error.message, EXIT.unreachable);
    throw error;
  }
}

function lock(dataDirectory: string): () => void {
  try {
    return lockDataDirectory(dataDirectory);
  } catch (error) {
    throw new CommandError((error as Error).message, EXIT.unreachable);
  }
}

/**
 * Resolves with the exit code once the process was asked to stop (SIGTERM, SIGINT) and has drained,
 * or a thread could not go on. A second signal ends the process at once.
 */
export async function untilStopped(running: Running, onStopping: () => void): Promise<number> {
  const asked = Promise.withResolvers<undefined>();
  const onSignal = (): void => {
    process.once("SIGINT", () => process.exit(130));
    process.once("SIGTERM", () => process.exit(143));
    asked.resolve(undefined);
  };
  process.once("SIGTERM", onSignal);
  process.once("SIGINT", onSignal);
  const failure = await Promise.race([asked.promise, running.supervisor.failed]);
  if (failure === undefined) onStopping();
  await running.stop();
  if (failure === undefined) return EXIT.ok;
  throw new CommandError(failure, EXIT.unreachable);
}
