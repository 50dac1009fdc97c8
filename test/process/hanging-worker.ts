/** A worker whose event loop stands still for ever as soon as a test says so. */
import { BroadcastChannel } from "node:worker_threads";

/** Where a test says so. */
const channel = new BroadcastChannel("hang");
channel.addEventListener("message", () => {
  for (;;);
});
channel.unref();
await import("../../src/process/worker-thread.ts");
