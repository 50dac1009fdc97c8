/** `sluice rollout …`: the verbs of Argo's own tools, sent as the patches that those tools send. */
import { setTimeout as delay } from "node:timers/promises";
import { formatDuration } from "../base/duration.ts";
import type { AnalysisRun } from "../resource/analysis.ts";
import type { Resource } from "../resource/resource.ts";
import type { Action } from "../rollout/actions.ts";
import { hashOf, isOwnedBy, revisionsOf, versionOf } from "../rollout/revision.ts";
import { statusOf } from "../rollout/status.ts";
import { type Client, findKind, pathOf } from "./client.ts";
import { CommandError, EXIT } from "./exit.ts";
import { formatData, type OutputFormat, print } from "./output.ts";
import { renderRollout } from "./rollout-view.ts";

export interface RolloutTarget {
  readonly namespace: string;
  readonly name: string;
}

async function readRollout(client: Client, { namespace, name }: RolloutTarget): Promise<Resource> {
  return await client.get("rollout", namespace, name);
}

async function render(
  client: Client,
  target: RolloutTarget,
): Promise<{ rollout: Resource; lines: string[]; settled: boolean }> {
  const [rollout, runs, revisions] = await Promise.all([
    readRollout(client, target),
    client.list("analysisrun", target.namespace),
    client.list("controllerrevision", target.namespace),
  ]);
  const lines = renderRollout({
    rollout,
    runs: shownRuns(rollout, runs as readonly AnalysisRun[]),
    versions: versionsOf(rollout, revisions),
    nowMs: Date.now(),
  });
  return { rollout, lines, settled: isSettled(rollout, revisions) };
}

/** Whether the status speaks of the newest spec and the newest revision, and not of those before. */
function isSettled(rollout: Resource, revisions: readonly Resource[]): boolean {
  const { observedGeneration, currentPodHash } = statusOf(rollout);
  const newest = revisionsOf(rollout, revisions).at(-1);
  if (newest !== undefined && hashOf(newest) !== currentPodHash) return false;
  return Number(observedGeneration) === rollout.metadata.generation;
}

/** Runs of the revision on trial, or of the last one, the newest of each first. */
function shownRuns(rollout: Resource, runs: readonly AnalysisRun[]): AnalysisRun[] {
  const mine = runs.filter((run) => isOwnedBy(run as Resource, rollout));
  const newest = mine.toSorted((a, b) =>
    b.metadata.creationTimestamp.localeCompare(a.metadata.creationTimestamp),
  );
  const open = newest.filter((run) => ["Running", "Pending", ""].includes(run.status?.phase ?? ""));
  return open.length > 0 ? open : newest.slice(0, 1);
}

function versionsOf(rollout: Resource, revisions: readonly Resource[]): Map<string, string> {
  return new Map(revisionsOf(rollout, revisions).map((each) => [hashOf(each), versionOf(each)]));
}

/** Prints the state once; exit code 1 where the rollout is Degraded. */
export async function status(
  client: Client,
  target: RolloutTarget,
  output: OutputFormat,
): Promise<number> {
  const { rollout, lines } = await render(client, target);
  print(output === "json" || output === "yaml" ? formatData(rollout, output) : lines.join("\n"));
  return statusOf(rollout).phase === "Degraded" ? EXIT.no : EXIT.ok;
}

export interface WatchOptions {
  /** Stop, with exit code 1, when it is not over by then; 0 waits for ever. */
  readonly timeoutMs: number;
  readonly isTerminal: boolean;
}

/** How often the rollout is looked at. */
const LOOK_EVERY_MS = 200;

/**
 * Shows the rollout whenever it changes, until it is Healthy (0), Degraded (1) or time is up (1). A
 * Sluice that is gone is waited for: started again, it goes on with the rollout.
 */
export async function watchStatus(
  client: Client,
  target: RolloutTarget,
  { timeoutMs, isTerminal }: WatchOptions,
): Promise<number> {
  const late = Promise.withResolvers<never>();
  const inTime = `The rollout was not over within ${formatDuration(timeoutMs)}`;
  const fail = (): void => late.reject(new CommandError(inTime));
  const timeout = timeoutMs > 0 ? setTimeout(fail, timeoutMs) : undefined;
  let shown = "";
  const show = (text: string): void => {
    if (text !== shown) print(isTerminal ? `\u001B[H\u001B[J${text}` : `${text}\n`);
    shown = text;
  };
  const look = async (): Promise<number | undefined> => {
    try {
      const { rollout, lines, settled } = await render(client, target);
      show(lines.join("\n"));
      const { phase } = statusOf(rollout);
      if (settled && phase === "Healthy") return EXIT.ok;
      if (settled && phase === "Degraded") return EXIT.no;
    } catch (error) {
      const gone = error instanceof CommandError && error.code === EXIT.unreachable;
      if (!gone || shown === "") throw error;
      show(error.message);
    }
    await delay(LOOK_EVERY_MS);
    return undefined;
  };
  try {
    for (;;) {
      const code = await Promise.race([look(), late.promise]);
      if (code !== undefined) return code;
    }
  } finally {
    clearTimeout(timeout);
  }
}

/** Sends the patches that a verb comes to for the rollout as it now is; says so where it is none. */
export async function act(
  client: Client,
  target: RolloutTarget,
  actionOf: (rollout: Resource, revisions: readonly Resource[]) => Action,
): Promise<void> {
  const rollout = await readRollout(client, target);
  const revisions = await client.list("controllerrevision", target.namespace);
  const action = actionOf(rollout, revisionsOf(rollout, revisions));
  if (!action.ok) throw new CommandError(action.message);
  for (const { key, subresource, type, body } of action.patches) {
    const path = pathOf(findKind(key.kind), key.namespace, key.name);
    await client.must(subresource === undefined ? path : `${path}/${subresource}`, {
      method: "PATCH",
      contentType: `application/${type === "json" ? "json-patch" : "merge-patch"}+json`,
      body,
    });
  }
}
