/** A worker that raises an exception in the middle of each request for /fault. */
import { Exchange } from "../../src/proxy/exchange.ts";

const countAnswer = Reflect.get(Exchange.prototype, "countAnswer");
Exchange.prototype.countAnswer = function counted(this: Exchange): void {
  if (this.head.path === "/fault") throw new Error("a fault of our own");
  countAnswer.call(this);
};
await import("../../src/process/worker-thread.ts");
