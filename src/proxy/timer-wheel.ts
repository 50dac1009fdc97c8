/**
 * All timeouts of a worker on one coarse timer. A timed object carries its own deadline; moving the
 * deadline later is one assignment, for an entry that comes up too early is put back. No request
 * makes a timer, a closure or a promise. Deadlines are met up to one tick late, never early; and where
 * the thread stood still, or was given no processor, what came meanwhile is read before anybody is late.
 */

/** What can time out. `deadlineMs` is on performance.now()'s scale; Infinity means not now. */
export interface Timed {
  deadlineMs: number;
  /** Owned by the wheel: the tick in which the entry comes up, -1 while it is not in the wheel. */
  wheelTick: number;
  wheelNext: Timed | null;
  wheelPrevious: Timed | null;
  expire(nowMs: number): void;
}

export const TICK_MS = 20;
const SLOTS = 1024;

export class TimerWheel {
  readonly #slots: (Timed | null)[] = Array.from({ length: SLOTS }, () => null);
  readonly #onTick: (nowMs: number) => void;
  readonly #onBug: (error: unknown) => void;
  readonly #callDue = (nowMs: number): void => {
    if (this.#timer !== undefined) this.advance(nowMs);
  };
  #tick = Math.floor(performance.now() / TICK_MS);
  #timer: NodeJS.Timeout | undefined;

  /**
   * `onTick` is called once a tick, before what has expired; `onBug` hears of exceptions, which cost the
   * entry that raised them, and no other.
   */
  constructor(onTick: (nowMs: number) => void, onBug: (error: unknown) => void) {
    this.#onTick = onTick;
    this.#onBug = onBug;
  }

  start(): void {
    this.#timer ??= setInterval(() => {
      const nowMs = performance.now();
      this.#onTick(nowMs);
      // Timers run before sockets are read in a turn of the event loop, and immediates after that.
      setImmediate(this.#callDue, nowMs);
    }, TICK_MS).unref();
  }

  stop(): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  /** Sets the deadline; the entry is moved only if it would come up too late. */
  schedule(entry: Timed, deadlineMs: number): void {
    entry.deadlineMs = deadlineMs;
    if (deadlineMs === Infinity) return;
    const tick = this.#tickOf(deadlineMs);
    if (entry.wheelTick !== -1) {
      if (entry.wheelTick <= tick) return;
      this.#unlink(entry);
    }
    this.#link(entry, tick);
  }

  /** Takes the entry out for good. */
  cancel(entry: Timed): void {
    entry.deadlineMs = Infinity;
    if (entry.wheelTick !== -1) this.#unlink(entry);
  }

  /** Calls what is due by `nowMs`. */
  advance(nowMs: number): void {
    const target = Math.floor(nowMs / TICK_MS);
    // After a stall of a whole turn each slot is looked at once, not once a tick.
    if (target - this.#tick > SLOTS) this.#tick = target - SLOTS;
    while (this.#tick < target) {
      this.#tick++;
      this.#expireSlot(this.#tick % SLOTS, nowMs);
    }
  }

  #expireSlot(slot: number, nowMs: number): void {
    const first = this.#slots[slot] as Timed | null;
    if (first === null) return;
    // Taken out all together first: what expires may schedule or cancel any other entry.
    const due: Timed[] = [];
    for (let entry: Timed | null = first; entry !== null; entry = entry.wheelNext) due.push(entry);
    this.#slots[slot] = null;
    for (const entry of due) {
      entry.wheelTick = -1;
      entry.wheelNext = null;
      entry.wheelPrevious = null;
    }
    for (const entry of due) {
      if (entry.wheelTick !== -1 || entry.deadlineMs === Infinity) continue;
      if (entry.deadlineMs <= nowMs) {
        entry.deadlineMs = Infinity;
        this.#expire(entry, nowMs);
      } else {
        this.#link(entry, this.#tickOf(entry.deadlineMs));
      }
    }
  }

  #expire(entry: Timed, nowMs: number): void {
    try {
      entry.expire(nowMs);
    } catch (error) {
      this.#onBug(error);
    }
  }

  #tickOf(deadlineMs: number): number {
    const tick = Math.ceil(deadlineMs / TICK_MS);
    return Math.min(Math.max(tick, this.#tick + 1), this.#tick + SLOTS - 1);
  }

  #link(entry: Timed, tick: number): void {
    const slot = tick % SLOTS;
    const first = this.#slots[slot] as Timed | null;
    entry.wheelTick = tick;
    entry.wheelNext = first;
    entry.wheelPrevious = null;
    if (first !== null) first.wheelPrevious = entry;
    this.#slots[slot] = entry;
  }

  #unlink(entry: Timed): void {
    if (entry.wheelPrevious === null) this.#slots[entry.wheelTick % SLOTS] = entry.wheelNext;
    else entry.wheelPrevious.wheelNext = entry.wheelNext;
    if (entry.wheelNext !== null) entry.wheelNext.wheelPrevious = entry.wheelPrevious;
    entry.wheelTick = -1;
    entry.wheelNext = null;
    entry.wheelPrevious = null;
  }
}
