/**
 * `sluice proxy`: the resources behind a single command line, so that a first canary needs no file. The
 * resources are plain data, and are printed as the YAML to go on from.
 */
import { userinfoOf } from "../resource/format.ts";
import { UNIX_SOCKET, unixPathProblem } from "../resource/gateway.ts";
import type { ResourceDraft } from "../resource/resource.ts";
import { Client } from "./client.ts";
import { CommandError, EXIT } from "./exit.ts";
import { formatData, print, printError } from "./output.ts";
import { untilProgrammed } from "./programmed.ts";
import {
  starterAnalysis,
  starterBackend,
  starterGateway,
  starterRollout,
  starterRoute,
  type StarterAddress,
} from "./starter.ts";
import { type ServeOptions, serve, untilStopped } from "./serve.ts";

export interface ProxyPlan {
  readonly to: string;
  readonly canary?: string;
  /** Percent of requests at each step, rising. */
  readonly steps: readonly number[];
  /** ":8080", "127.0.0.1:8080" or "unix:/run/sluice/edge.sock". */
  readonly listen: string;
}

const NAME = "app";
const STEP_PAUSE = "30s";

/** Serves one backend, and rolls out its canary; prints the resources as YAML to start from. */
export async function proxy(
  flags: {
    readonly to: string;
    readonly canary?: string;
    readonly steps: string;
    readonly listen: string;
  },
  options: ServeOptions,
): Promise<number> {
  const { resources, canary } = proxyResources({ ...flags, steps: parseSteps(flags.steps) });
  const running = await serve(options);
  const client = new Client(running.adminUrl);
  try {
    for (const resource of resources) await client.mustApply(resource);
    await untilProgrammed(client, "Somewhere else: --listen :8081");
    print(resources.map((resource) => formatData(resource, "yaml")).join("---\n"));
    printError(`Sluice serves ${flags.to} on ${flags.listen}. Admin API: ${running.adminUrl}`);
    if (canary !== undefined) {
      await client.mustApply(canary);
      printError(
        `${flags.canary} gets ${flags.steps} percent of the requests, step by step. Watch:`,
      );
      printError(`  sluice rollout status app --watch --server ${running.adminUrl}`);
    }
  } catch (error) {
    await running.stop();
    throw error;
  }
  return await untilStopped(running, () => printError("Draining …"));
}

/**
 * The resources that serve `plan.to`, and the edit that begins the canary: the same Backend with
 * version 2. Throws CommandError for a URL that cannot be served.
 */
export function proxyResources(plan: ProxyPlan): {
  readonly resources: readonly ResourceDraft[];
  readonly canary: ResourceDraft | undefined;
} {
  const { port, address } = parseListen(plan.listen);
  const stable = starterBackend(NAME, "1", endpoint(plan.to, "--to"));
  // What is referred to comes first, so that nothing is missed on the way.
  const resources = [starterGateway(port, address), stable, starterRoute(NAME)];
  if (plan.canary === undefined) return { resources, canary: undefined };
  return {
    resources: [...resources, starterAnalysis(), starterRollout(NAME, plan.steps, STEP_PAUSE)],
    canary: starterBackend(NAME, "2", endpoint(plan.canary, "--canary")),
  };
}

function endpoint(url: string, option: string): object {
  const parsed = URL.canParse(url) ? new URL(url) : undefined;
  if (userinfoOf(url) !== "") {
    throw new CommandError(`${option}: must hold no user and password`, EXIT.usage);
  }
  // What is written of it is the origin alone: a query or a fragment would be lost.
  if (parsed?.protocol !== "http:" || parsed.href !== `${parsed.origin}/`) {
    throw new CommandError(
      `${option} ${url}: must be the URL of a plain HTTP server without a path, such as http://127.0.0.1:3000`,
      EXIT.usage,
    );
  }
  const port = parsed.port === "" ? 80 : Number(parsed.port);
  const host = parsed.hostname.replaceAll(/^\[|\]$/g, "");
  return /^[\d.]+$|:/.test(host)
    ? { ip: { address: host, port } }
    : { fqdn: { hostname: host, port } };
}

/** "5,25,50" → [5, 25, 50]. */
export function parseSteps(text: string): number[] {
  const steps = text.split(",").map(Number);
  const rising = steps.every((step, at) => step > (steps[at - 1] ?? 0) && step <= 100);
  if (!rising || !steps.every(Number.isInteger)) {
    throw new CommandError(
      `--steps ${text}: must be rising whole percents, such as 5,25,50`,
      EXIT.usage,
    );
  }
  return steps;
}

/** What a Unix socket's listener calls its port, which no client sees. */
const UNIX_PORT = 80;

function parseListen(text: string): { address: StarterAddress | undefined; port: number } {
  if (text.startsWith("unix:")) {
    const value = text.slice("unix:".length);
    const problem = unixPathProblem(value);
    if (problem === undefined) return { address: { type: UNIX_SOCKET, value }, port: UNIX_PORT };
    throw new CommandError(`--listen ${text}: ${problem}`, EXIT.usage);
  }
  const match = /^(?:(\[[\da-f:.]+\]|[\d.]+))?:(\d{1,5})$/i.exec(text);
  const port = Number(match?.[2]);
  if (!match || port < 1 || port > 65_535) {
    throw new CommandError(`--listen ${text}: must be :PORT, IP:PORT or unix:/PATH`, EXIT.usage);
  }
  const value = match[1]?.replaceAll(/^\[|\]$/g, "");
  return { address: value === undefined ? undefined : { type: "IPAddress", value }, port };
}
