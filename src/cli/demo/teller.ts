/** Tells a rollout as a story: one line for whatever became different since the last look. */
import { styleText } from "node:util";
import type { AnalysisRun } from "../../resource/analysis.ts";
import { HASH_LABEL } from "../../rollout/revision.ts";
import { type RolloutStatus, statusOf } from "../../rollout/status.ts";
import type { Client } from "../client.ts";
import { markOf } from "../rollout-view.ts";
import type { TrafficCounts } from "./sample-traffic.ts";

const BAR_WIDTH = 40;

interface Measured {
  readonly phase: string;
  readonly message?: string;
}

export class Teller {
  readonly #client: Client;
  readonly #print: (line: string) => void;
  readonly #startedMs = performance.now();
  /** What was told last, by subject, so that nothing is told twice. */
  #told = new Map<string, string>();

  constructor(client: Client, print: (line: string) => void) {
    this.#client = client;
    this.#print = print;
  }

  say(line: string): void {
    const seconds = ((performance.now() - this.#startedMs) / 1000).toFixed(1).padStart(5);
    this.#print(line === "" ? "" : `${styleText("dim", `${seconds} s`)}  ${line}`);
  }

  /** Begins the next act: from now on the rollout of `version` is told. */
  act(text: string): void {
    this.#told = new Map();
    this.say("");
    this.say(styleText("bold", text));
  }

  /** Looks at the rollout once; true when the revision after `previous` was promoted or rolled back. */
  async look(previous: string | undefined): Promise<boolean> {
    const rollout = await this.#client.get("rollout", "default", "checkout");
    const status = statusOf(rollout);
    const { currentPodHash: current } = status;
    if (current === previous || current === undefined) return false;
    const runs = (await this.#client.list("analysisrun", "default")) as readonly AnalysisRun[];
    const ours = runs.filter((run) => run.metadata.labels?.[HASH_LABEL] === current);
    if (status.stableRS !== current) this.#tellWeight(status);
    for (const run of ours) this.#tellRun(run);
    return this.#tellEnd(status, ours);
  }

  /** Sums up; `failed` counts the requests whose client saw an error. */
  traffic({ requests, failed, byVersion }: TrafficCounts): void {
    const versions = [...byVersion.keys()].toSorted((a, b) => a.localeCompare(b));
    const shares = versions.map((version) => `version ${version}: ${byVersion.get(version)}`);
    this.say("");
    this.say(`${requests} requests so far, answered by ${shares.join(", ")}; ${failed} failed.`);
    this.say("What version 3 failed, version 2 answered: a GET may be repeated.");
  }

  #tellWeight(status: RolloutStatus): void {
    const weights = status.canary?.weights;
    if (weights?.verified !== true) return;
    const { weight } = weights.canary;
    // Before its first step a new version has nothing, which is not worth a line.
    if (weight === 0 && status.abort !== true) return;
    const filled = Math.round((weight / 100) * BAR_WIDTH);
    const bar = styleText("cyan", "█".repeat(filled)) + "░".repeat(BAR_WIDTH - filled);
    this.#once("weight", `${bar} ${weight}% of the requests go to the new version.`);
  }

  #tellRun(run: AnalysisRun): void {
    for (const result of run.status?.metricResults ?? []) {
      const last = result.measurements?.at(-1);
      if (result.message !== undefined && last === undefined) {
        this.#once(result.name, styleText("dim", `  … ${result.name}: ${result.message}`));
      }
      if (last !== undefined)
        this.#once(result.name, `  ${markOf(last.phase)} ${last.message ?? ""}`);
    }
  }

  #tellEnd(status: RolloutStatus, runs: readonly AnalysisRun[]): boolean {
    if (status.phase === "Degraded") {
      const bad = runs.flatMap((run) => run.status?.metricResults ?? []).flatMap(failuresOf);
      const why = bad.at(0)?.message ?? status.message ?? "";
      this.#once("end", `${styleText(["red", "bold"], "Rolled back")}: ${why}.`);
      return true;
    }
    if (status.stableRS !== status.currentPodHash || status.phase !== "Healthy") return false;
    this.#once("end", `${styleText(["green", "bold"], "Promoted")}: all requests go to it now.`);
    return true;
  }

  #once(subject: string, line: string): void {
    if (this.#told.get(subject) === line) return;
    this.#told.set(subject, line);
    this.say(line);
  }
}

function failuresOf(result: { readonly measurements?: readonly Measured[] }): Measured[] {
  return (result.measurements ?? []).filter(({ phase }) => phase === "Failed");
}

/** What a newcomer can try while the demo serves on. */
export function nextSteps(urls: {
  readonly gatewayUrl: string;
  readonly adminUrl: string;
}): string {
  const server = urls.adminUrl === "http://127.0.0.1:9900" ? "" : ` --server ${urls.adminUrl}`;
  return `
Sluice serves on. Try, in another terminal:

  curl ${urls.gatewayUrl}/cart
  npm run -s sluice -- rollout status checkout${server}
  npm run -s sluice -- rollout retry checkout${server}      # give version 3 another chance
  npm run -s sluice -- get backend checkout -o yaml${server}
  npm run -s sluice -- kubeconfig${server} > /tmp/sluice.kubeconfig
  kubectl --kubeconfig /tmp/sluice.kubeconfig get gateways,httproutes,rollouts,analysisruns
  curl ${urls.adminUrl}/metrics

Ctrl-C drains and leaves nothing behind.
`;
}
