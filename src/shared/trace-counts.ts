/** What became of spans that left the workers: counted by the trace thread, read for /metrics. */

const FIELDS = { exported: 0, failed: 1 } as const;

export function allocateTraceCounts(): SharedArrayBuffer {
  return new SharedArrayBuffer(Object.keys(FIELDS).length * Float64Array.BYTES_PER_ELEMENT);
}

export class TraceCounts {
  readonly #cells: Float64Array<SharedArrayBuffer>;

  constructor(memory: SharedArrayBuffer) {
    this.#cells = new Float64Array(memory);
  }

  /** Spans that the collector took. */
  get exported(): number {
    return this.#cells[FIELDS.exported] as number;
  }

  /** Spans that the collector did not take. */
  get failed(): number {
    return this.#cells[FIELDS.failed] as number;
  }

  /** For the trace thread alone. */
  add(field: keyof typeof FIELDS, count: number): void {
    this.#cells[FIELDS[field]] = (this.#cells[FIELDS[field]] as number) + count;
  }
}
