/** Tells a rollout as a story: one line for whatever became different since the last look. */
import { styleText } from "node:util";
import type { AnalysisRun } from "../../resource/analysis.ts";
import type { Resource } from "../../resource/resource.ts";
import { statusOf } from "../../rollout/status.ts";
import type { Client } from "../client.ts";
import type { TrafficCounts } from "./sample-traffic.ts";

export class Teller {
  readonly #client: Client;
  readonly #print: (line: string) => void;
  readonly #startedMs = performance.now();
  /** What was told last, by subject, so that nothing is told twice. */
  readonly #told = new Map<string, string>();

  constructor(client: Client, print: (line: string) => void) {
    this.#client = client;
    this.#print = print;
  }

  say(line: string): void {
    const seconds = ((performance.now() - this.#startedMs) / 1000).toFixed(1).padStart(5);
    this.#print(line === "" ? "" : `${styleText("dim", `${seconds} s`)}  ${line}`);
  }

  /** Looks at the rollout once; true when the revision after `previous` was promoted or rolled back. */
  async look(previous: string | undefined): Promise<boolean> {
    const rollout = await this.#client.get("rollout", "default", "checkout");
    const status = statusOf(rollout);
    if (status.currentPodHash === previous || status.currentPodHash === undefined) return false;
    const runs = (await this.#client.list("analysisrun", "default")) as readonly AnalysisRun[];
    this.#tellWeights(rollout);
    for (const run of runs) this.#tellRun(run);
    if (status.phase === "Degraded") {
      this.#once("end", `${styleText("red", "Rolled back.")} ${status.message ?? ""}`);
      return true;
    }
    if (status.stableRS === status.currentPodHash && status.phase === "Healthy") {
      this.#once("end", styleText("green", "Promoted: it gets all traffic now."));
      this.#told.clear();
      return true;
    }
    return false;
  }

  traffic({ requests, failed, byVersion }: TrafficCounts): void {
    const versions = [...byVersion.keys()].toSorted((a, b) => a.localeCompare(b));
    const shares = versions.map((version) => `version ${version} ${byVersion.get(version)}`);
    this.say(`${requests} requests so far, answered by ${shares.join(", ")}; ${failed} failed.`);
    this.say("The failures of version 3 were answered by the stable version: GET is idempotent.");
  }

  #tellWeights(rollout: Resource): void {
    const weights = statusOf(rollout).canary?.weights;
    if (weights?.verified !== true) return;
    const { weight } = weights.canary;
    this.#once("weight", `Every worker sends ${weight}% to the new version.`);
  }

  #tellRun(run: AnalysisRun): void {
    for (const result of run.status?.metricResults ?? []) {
      const last = result.measurements?.at(-1);
      const said = last?.message ?? result.message;
      const verdict = last === undefined ? "" : `${last.value ?? ""} → ${last.phase}`;
      const line = `  ${result.name} ${verdict} ${styleText("dim", said ?? "")}`.trimEnd();
      this.#once(`${run.metadata.name}/${result.name}`, line);
    }
  }

  #once(subject: string, line: string): void {
    if (this.#told.get(subject) === line) return;
    this.#told.set(subject, line);
    this.say(line);
  }
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
  npm run -s sluice -- rollout status checkout --watch${server}
  npm run -s sluice -- get backend checkout -o yaml${server}
  npm run -s sluice -- rollout retry checkout${server}
  npm run -s sluice -- kubeconfig${server} > sluice.kubeconfig
  kubectl --kubeconfig sluice.kubeconfig get gateways,httproutes,rollouts,analysisruns
  curl ${urls.adminUrl}/metrics

Ctrl-C drains and leaves nothing behind.
`;
}
