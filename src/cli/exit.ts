/** Exit codes, the same for every command and documented in `sluice --help`. */

export const EXIT = {
  ok: 0,
  /** The answer is no: problems found, a rollout degraded, a resource not there, a change refused. */
  no: 1,
  /** The command line was not understood. */
  usage: 2,
  /** Sluice could not be started or reached. */
  unreachable: 3,
} as const;

/** Ends the command with a message on standard error and an exit code. */
export class CommandError extends Error {
  override readonly name = "CommandError";
  readonly code: number;

  constructor(message: string, code: number = EXIT.no) {
    super(message);
    this.code = code;
  }
}
