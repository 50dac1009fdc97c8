/**
 * `npm start`, `sluice demo`: the main job on real sockets, told as it happens. Version 2 of a
 * service is applied and promoted through its steps; version 3 fails one request in five, is caught
 * and rolled back. Everything it makes is its own — a fresh data directory, loopback ports — and is
 * gone when it ends.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { systemRandom } from "../../base/random.ts";
import type { ResourceDraft } from "../../resource/resource.ts";
import { statusOf } from "../../rollout/status.ts";
import { Client } from "../client.ts";
import { CommandError, EXIT } from "../exit.ts";
import { print } from "../output.ts";
import { untilProgrammed } from "../programmed.ts";
import {
  starterAnalysis,
  starterBackend,
  starterGateway,
  starterRollout,
  starterRoute,
} from "../starter.ts";
import { defaultWorkers, serve, untilStopped } from "../serve.ts";
import { nextSteps, Teller } from "./teller.ts";
import { startSampleBackend } from "./sample-backends.ts";
import { startSampleTraffic } from "./sample-traffic.ts";

export interface DemoOptions {
  readonly port: number;
  readonly adminAddress: string;
  /** End after the story instead of serving on. */
  readonly once: boolean;
}

const NAME = "checkout";
const WEIGHTS = [5, 25, 50];
const STEP_PAUSE = "5s";
const REQUESTS_PER_SECOND = 200;
const ERROR_RATE_OF_VERSION_3 = 0.2;
/** No act of the story may take longer than this. */
const ACT_MS_MAX = 60_000;
const LOOK_EVERY_MS = 100;

/** Resolves with the exit code after Ctrl-C, or after the story with `once`. */
export async function demo(options: DemoOptions): Promise<number> {
  const dataDirectory = mkdtempSync(path.join(tmpdir(), "sluice-demo-"));
  const clean = (): void => rmSync(dataDirectory, { recursive: true, force: true });
  try {
    return await play(options, dataDirectory);
  } finally {
    clean();
  }
}

async function play(options: DemoOptions, dataDirectory: string): Promise<number> {
  const running = await serve({
    files: [],
    dataDirectory,
    adminAddress: options.adminAddress,
    workers: defaultWorkers(),
    accessLog: { destination: "" },
    drainTimeoutMs: 5000,
    drainDelayMs: 0,
    reopensOnHangup: false,
    logLevel: "error",
  });
  const backends = await Promise.all([
    startSampleBackend("1", 0, systemRandom),
    startSampleBackend("2", 0, systemRandom),
    startSampleBackend("3", ERROR_RATE_OF_VERSION_3, systemRandom),
  ]);
  const client = new Client(running.adminUrl);
  const gatewayUrl = `http://127.0.0.1:${options.port}`;
  const teller = new Teller(client, print);
  let traffic: ReturnType<typeof startSampleTraffic> | undefined;
  const close = async (): Promise<void> => {
    await traffic?.stop();
    for (const backend of backends) backend.close();
  };
  let stopping = false;
  const stopped = untilStopped(running, () => {
    stopping = true;
    print("\nDraining …");
  });
  try {
    const story = (async (): Promise<void> => {
      const [first, second, third] = backends.map(({ version, port }) =>
        starterBackend(NAME, version, { ip: { address: "127.0.0.1", port } }),
      ) as [ResourceDraft, ResourceDraft, ResourceDraft];
      await client.mustApply(first);
      for (const resource of resources(options.port)) await client.mustApply(resource);
      await untilProgrammed(client, "Another port: npm start -- --port 8081");
      traffic = startSampleTraffic(gatewayUrl, REQUESTS_PER_SECOND);
      teller.say(`Sluice serves. Gateway ${gatewayUrl}, admin API ${running.adminUrl}.`);
      teller.say(`Version 1 of "checkout" gets all of ${REQUESTS_PER_SECOND} requests a second.`);
      teller.act("Version 2 is applied. It is good.");
      await act(client, teller, second);
      teller.act("Version 3 is applied. It fails one request in five.");
      await act(client, teller, third);
      teller.traffic(traffic.counts);
      print(nextSteps({ gatewayUrl, adminUrl: running.adminUrl }));
    })();
    const ended = await Promise.race([story.then(() => "story" as const), stopped]);
    if (ended !== "story") return ended;
    if (options.once) process.kill(process.pid, "SIGTERM");
    return await stopped;
  } catch (error) {
    // The end breaks the story off wherever it is.
    if (stopping) return await stopped;
    await running.stop();
    throw error;
  } finally {
    await close();
  }
}

/** Everything but the Backend: its versions are the story. */
function resources(port: number): readonly ResourceDraft[] {
  return [
    starterGateway(port, { type: "IPAddress", value: "127.0.0.1" }),
    starterRoute(NAME),
    starterAnalysis(),
    starterRollout(NAME, WEIGHTS, STEP_PAUSE),
  ];
}

/** Applies a version and tells what becomes of it, until its rollout has ended one way or the other. */
async function act(client: Client, teller: Teller, backend: ResourceDraft): Promise<void> {
  const { namespace, name } = backend.metadata;
  const before = statusOf(await client.get("rollout", namespace, name));
  await client.mustApply(backend);
  await until(async () => teller.look(before.currentPodHash));
}

/** Looks ten times a second until `done`; throws when an act takes too long. */
async function until(done: () => Promise<boolean>): Promise<void> {
  for (let waitedMs = 0; waitedMs < ACT_MS_MAX; waitedMs += LOOK_EVERY_MS) {
    if (await done()) return;
    await new Promise((resolve) => setTimeout(resolve, LOOK_EVERY_MS));
  }
  throw new CommandError("The demo did not get on: see the log above", EXIT.unreachable);
}
