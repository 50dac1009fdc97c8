/** A request's body that nobody wants, read for its length alone. */
import type { BodyCollector, Exchange } from "./exchange.ts";
import { respondError } from "./respond.ts";

export class BodyGauge implements BodyCollector {
  readonly #bytesMax: number;
  readonly #answer: () => void;

  /** `answer` is called once the body has come whole, in no more than `bytesMax`. */
  constructor(bytesMax: number, answer: () => void) {
    this.#bytesMax = bytesMax;
    this.#answer = answer;
  }

  slice(x: Exchange): void {
    if (x.bytesIn > this.#bytesMax) respondError(x, "body_too_large");
  }

  end(x: Exchange): void {
    if (!x.finished) this.#answer();
  }
}
