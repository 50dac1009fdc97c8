/**
 * The log of the control plane and the supervisor: one JSON line an event, on standard error. The
 * data plane's access log is another thing and lives in proxy/.
 */
import pino from "pino";

export interface Logger {
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
}

export type LogLevel = "info" | "warn" | "error" | "silent";

/** `thread` names the writer: "main", "control", "worker-0". */
export function createLogger(thread: string, level: LogLevel): Logger {
  return pino(
    { level, base: { thread }, timestamp: pino.stdTimeFunctions.isoTime },
    pino.destination({ fd: 2, sync: true }),
  );
}
