/** A thread for tests: it dies at once where its data says so, else when it is told to stop. */
import { parentPort, workerData } from "node:worker_threads";

const { dies } = workerData as { readonly dies: boolean };
if (dies) throw new Error("nothing to live for");
parentPort?.on("message", (command: { readonly type: string }) => {
  if (command.type === "stop") process.exit();
});
parentPort?.postMessage({ type: "ready" });
