/**
 * The control thread's composition root: store, compile loop, delivery, controllers, files and the
 * admin API, joined here and nowhere else. It can be ended and started again at any moment; traffic
 * goes on meanwhile, and everything resumes from the store and from what the workers hold.
 */
import { type MessagePort, parentPort, workerData } from "node:worker_threads";
import { Agent } from "undici";
import { createAdminServer } from "../admin/server.ts";
import { analysisRule } from "../admission/analysis-rule.ts";
import { rolloutRule } from "../admission/rollout-rule.ts";
import { createWriter } from "../admission/writer.ts";
import { assert } from "../base/assert.ts";
import { systemClock } from "../base/clock.ts";
import { createLogger } from "../base/log.ts";
import { systemRandom } from "../base/random.ts";
import { steadyClock } from "../base/steady-clock.ts";
import { createAnalysisRunController } from "../control/analysis-run/reconcile.ts";
import { createCertificateController } from "../control/certificate/reconcile.ts";
import { createDriver, type Driver } from "../control/driver.ts";
import { createEventExpiry } from "../control/event.ts";
import { createNotifications } from "../control/notification/reconcile.ts";
import { createRolloutController } from "../control/rollout/reconcile.ts";
import { createDelivery } from "../delivery/delivery.ts";
import { createFileRule, deletionNote } from "../file/ownership.ts";
import { createFileSource } from "../file/source.ts";
import { createExposition } from "../metric/exposition.ts";
import { Windows } from "../metric/window.ts";
import { formatIssue, type Issue } from "../resource/issue.ts";
import { pathText } from "../resource/message.ts";
import { Gates } from "../shared/gates.ts";
import { MetricReader } from "../shared/metrics.ts";
import { TraceCounts } from "../shared/trace-counts.ts";
import { storePath } from "../store/lock.ts";
import { openSqliteStore } from "../store/sqlite.ts";
import type { Store } from "../store/store.ts";
import type { ControlCommand, ControlThreadData, ThreadReport } from "./messages.ts";
import { ProgramLoop } from "./program-loop.ts";
import { unmetBeside } from "./unmet-references.ts";
import { VERSION } from "./version.ts";

assert(parentPort !== null, "the control thread has a parent");
const main: MessagePort = parentPort;
const { memory, options, resumes } = workerData as ControlThreadData;
const log = createLogger("control", options.logLevel);
/** What is dated in this thread is compared later: whether a verdict is fresh, which of two is older. */
const clock = steadyClock(systemClock);

function report(message: ThreadReport): void {
  main.postMessage(message);
}

/** Says why this thread cannot do its work, and ends it. */
function giveUp(error: unknown): never {
  log.info({ err: error }, "cannot start");
  report({ type: "fatal", message: error instanceof Error ? error.message : String(error) });
  process.exit(1);
}

function openStore(): Store {
  try {
    return openSqliteStore({ path: storePath(options.dataDirectory), clock });
  } catch (error) {
    return giveUp(error);
  }
}

const store = openStore();
const reader = new MetricReader(memory.metrics);
const spans = new TraceCounts(memory.traces);
const delivery = createDelivery({ gates: new Gates(memory.gates), rows: reader, clock });
const programs = new ProgramLoop({ store, delivery, clock, log, workers: memory.workers });
const dispatcher = new Agent();

let driver: Driver | undefined;
const wake = (): void => driver?.signal();
const analysisRuns = createAnalysisRunController({
  store,
  clock,
  windows: new Windows({ reader, clock }),
  dataPlane: delivery,
  wake,
  log,
});
const certificates = createCertificateController({
  store,
  clock,
  random: systemRandom,
  dataPlane: delivery,
  // Loaded when first needed: most gateways have no certificate to ask for.
  connect: async (asked) => (await import("../control/certificate/acme.ts")).connectAcme(asked),
  wake,
  log,
});
const notifications = createNotifications({ store, clock, random: systemRandom, dispatcher });
driver = createDriver({
  reconcilers: [
    createRolloutController({ store, dataPlane: delivery, clock }),
    analysisRuns,
    certificates,
    notifications,
    createEventExpiry({ store, clock }),
  ],
  clock,
  random: systemRandom,
  onError: (name, error, failures) => log.warn({ name, err: error, failures }, "reconcile failed"),
});

const files = createFileSource({
  paths: options.files,
  store,
  writer: createWriter({ store, rules: [rolloutRule, analysisRule], clock }),
  clock,
  onIssues: (issues) => {
    if (started) tellIssues(issues);
  },
});
/** Before that, issues may be what the start fails with, and who started it hears of them once. */
let started = false;

function tellIssues(issues: readonly Issue[]): void {
  for (const issue of issues) log.error({ file: issue.file }, formatIssue(issue));
}

let draining = false;
const admin = createAdminServer({
  store,
  writer: createWriter({
    store,
    rules: [
      rolloutRule,
      analysisRule,
      createFileRule(store, (resource) => files.declares(resource)),
    ],
    clock,
  }),
  clock,
  random: systemRandom,
  metrics: createExposition({
    reader,
    served: () => programs.compiled,
    store,
    workers: () => ({ live: delivery.readyCount, wanted: memory.workers }),
    notifications: () => notifications.counts(),
    spans: () => spans,
    problems: () => programs.problemCounts(),
  }),
  ready: () => {
    const reasons = draining ? ["draining"] : programs.notReady();
    return { ok: reasons.length === 0, reasons };
  },
  warnings: async (resource) => [
    ...(await programs.problemsOf(resource)),
    ...unmetBeside(store, resource).map(({ path, message }) => `${pathText(path)}: ${message}`),
  ],
  version: VERSION,
  onFault: (message, error) => log.error({ err: error }, message),
});

main.on("message", (command: ControlCommand) => {
  switch (command.type) {
    case "worker":
      delivery.addWorker(command.index, command.port);
      break;
    case "drain":
      draining = true;
      break;
    case "stop":
      void stop();
      break;
  }
});

/** A port in use or a file that was never good ends the start; later, both only cost themselves. */
async function start(): Promise<void> {
  const { issues } = await files.load();
  if (issues.length > 0 && !resumes && store.list("Gateway").length === 0) {
    throw new Error(issues.map((issue: Issue) => formatIssue(issue)).join("\n"));
  }
  started = true;
  tellIssues(issues);
  if (!resumes) for (const text of [...files.left(), ...files.deleted()]) log.warn({}, text);
  await programs.start({ allSockets: !resumes });
  const adminPort = await listenAdmin(options.adminAddress);
  store.watch(wake);
  store.watch(({ type, resource }) => {
    const note = type === "DELETED" ? deletionNote(store, resource) : undefined;
    if (note !== undefined) log.warn({}, note);
  });
  delivery.onAcknowledged(wake);
  driver?.start();
  files.watch();
  report({ type: "ready", adminPort });
}

async function listenAdmin(address: string): Promise<number> {
  const colon = address.lastIndexOf(":");
  const host = address.slice(0, colon).replaceAll(/^\[|\]$/g, "");
  const { port } = await admin.listen({ host, port: Number(address.slice(colon + 1)) });
  return port;
}

async function stop(): Promise<void> {
  await driver?.stop();
  analysisRuns.close();
  certificates.close();
  await admin.close();
  await dispatcher.destroy();
  programs.close();
  delivery.close();
  store.close();
  process.exit();
}

try {
  await start();
} catch (error) {
  giveUp(error);
}
