/**
 * A control loop: it looks at the world, decides, and makes the world so. It is woken by a signal
 * and by time; neither says what changed, so that there is one path for a change just seen, a change
 * missed and a restart.
 */
export interface Reconciler {
  readonly name: string;
  /** Throws when the effects could not be applied; the driver retries with backoff. */
  reconcile(signal: AbortSignal): Promise<Outcome>;
}

export interface Outcome {
  /** Wall time, milliseconds since the epoch, at which to look again without a signal. */
  readonly wakeAtMs: number | undefined;
}
