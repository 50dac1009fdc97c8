/**
 * One open flag per arm, read by every worker before it dispatches an attempt. Closing a gate stops
 * an arm at once, whatever snapshot a request holds and however far a new Program has got: that is
 * how an abort works even while the store or a worker is slow.
 */
import { IndexTable } from "./index-table.ts";

const OPEN = 0;
const CLOSED = 1;

/** In place of the number of an arm for which there is no room: it cannot be closed. */
export const ALWAYS_OPEN = -1;
/** The same for an arm that must not run if it cannot be closed. */
export const ALWAYS_CLOSED = -2;

export class Gates {
  readonly #index: IndexTable;
  readonly #flags: Int32Array<SharedArrayBuffer>;

  constructor(buffers: { readonly index: SharedArrayBuffer; readonly flags: SharedArrayBuffer }) {
    this.#index = new IndexTable(buffers.index);
    this.#flags = new Int32Array(buffers.flags);
  }

  /** The gate's number, to be looked up once when an arm is linked; -1 if there is no room. */
  gateOf(armId: string): number {
    return this.#index.findOrInsert(armId);
  }

  isOpen(gate: number): boolean {
    return gate < 0 ? gate === ALWAYS_OPEN : Atomics.load(this.#flags, gate) === OPEN;
  }

  /** Keeps a place for an arm. The control thread alone, before a worker hears of the arm. */
  reserve(armId: string): void {
    this.#index.reserve(armId);
  }

  /** Opens or closes an arm on every worker at once. The control thread alone. */
  set(armId: string, open: boolean): void {
    const gate = this.#index.reserve(armId);
    if (gate !== -1) Atomics.store(this.#flags, gate, open ? OPEN : CLOSED);
  }

  /** Frees the gate of an arm that no worker knows any more. */
  remove(armId: string): void {
    const gate = this.#index.find(armId);
    if (gate === -1) return;
    Atomics.store(this.#flags, gate, OPEN);
    this.#index.remove(armId);
  }

  /** Frees the gates of all other arms, which no worker knows any more. */
  keepOnly(armIds: Iterable<string>): void {
    this.#index.keepOnly(armIds, (gate) => Atomics.store(this.#flags, gate, OPEN));
  }
}
