/** `sluice rollout …`: the verbs of Argo's own tools, sent as the patches that those tools send. */
import type { JsonObject } from "../base/json.ts";
import type { AnalysisRun } from "../resource/analysis.ts";
import type { Resource } from "../resource/resource.ts";
import type { Rollout } from "../resource/rollout.ts";
import { type Client, findKind, pathOf } from "./client.ts";
import { CommandError, EXIT } from "./exit.ts";
import { formatData, type OutputFormat, print } from "./output.ts";
import { renderRollout } from "./rollout-view.ts";

export interface RolloutTarget {
  readonly namespace: string;
  readonly name: string;
}

async function readRollout(client: Client, { namespace, name }: RolloutTarget): Promise<Rollout> {
  return (await client.get("rollout", namespace, name)) as Rollout;
}

async function render(
  client: Client,
  target: RolloutTarget,
): Promise<{ rollout: Rollout; lines: string[] }> {
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
  return { rollout, lines };
}

function owned(rollout: Rollout, resource: Resource): boolean {
  return (resource.metadata.ownerReferences ?? []).some((o) => o.uid === rollout.metadata.uid);
}

/** Runs of the revision on trial, or of the last one, the newest of each first. */
function shownRuns(rollout: Rollout, runs: readonly AnalysisRun[]): AnalysisRun[] {
  const mine = runs.filter((run) => owned(rollout, run));
  const newest = mine.toSorted((a, b) =>
    b.metadata.creationTimestamp.localeCompare(a.metadata.creationTimestamp),
  );
  const open = newest.filter((run) => ["Running", "Pending", ""].includes(run.status?.phase ?? ""));
  return open.length > 0 ? open : newest.slice(0, 1);
}

function versionsOf(rollout: Rollout, revisions: readonly Resource[]): Map<string, string> {
  const versions = new Map<string, string>();
  for (const revision of revisions.filter((each) => owned(rollout, each))) {
    const hash = revision.metadata.labels?.["rollouts-pod-template-hash"];
    const { version } = (revision["data"] ?? {}) as { version?: string };
    if (hash !== undefined && version !== undefined) versions.set(hash, version);
  }
  return versions;
}

/** Prints the state once; exit code 1 where the rollout is Degraded. */
export async function status(
  client: Client,
  target: RolloutTarget,
  output: OutputFormat,
): Promise<number> {
  const { rollout, lines } = await render(client, target);
  print(output === "json" || output === "yaml" ? formatData(rollout, output) : lines.join("\n"));
  return rollout.status?.phase === "Degraded" ? EXIT.no : EXIT.ok;
}

export interface WatchOptions {
  /** Stop, with exit code 1, when it is not over by then; 0 waits for ever. */
  readonly timeoutMs: number;
  readonly isTerminal: boolean;
}

/** Shows the rollout whenever it changes, until it is Healthy (0), Degraded (1) or time is up (1). */
export async function watchStatus(
  client: Client,
  target: RolloutTarget,
  options: WatchOptions,
): Promise<number> {
  const end = new AbortController();
  const timeout =
    options.timeoutMs > 0 ? setTimeout(() => end.abort(), options.timeoutMs) : undefined;
  let code: number | undefined;
  let shown = "";
  const refresh = async (): Promise<void> => {
    const { rollout, lines } = await render(client, target);
    const text = lines.join("\n");
    if (text !== shown) print(options.isTerminal ? `\u001B[H\u001B[J${text}` : `${text}\n`);
    shown = text;
    const phase = rollout.status?.phase;
    const settled = rollout.status?.observedGeneration === String(rollout.metadata.generation);
    if (settled && phase === "Healthy") code = EXIT.ok;
    if (settled && phase === "Degraded") code = EXIT.no;
    if (code !== undefined) end.abort();
  };
  const changes = ["rollout", "analysisrun"].map(async (kind) => {
    const path = `${pathOf(findKind(kind), target.namespace)}?watch=true`;
    await client.watch(path, () => void refresh().catch(() => end.abort()), end.signal);
  });
  const ticker = setInterval(() => void refresh().catch(() => end.abort()), 1000);
  try {
    await refresh();
    await Promise.all(changes);
  } finally {
    clearInterval(ticker);
    clearTimeout(timeout);
  }
  if (code === undefined) throw new CommandError("The rollout was not over in time");
  return code;
}

/** Sends the patch that a verb comes to for the rollout as it now is. */
export async function act(
  client: Client,
  target: RolloutTarget,
  patchOf: (rollout: Rollout) => {
    readonly subresource: "" | "/status";
    readonly body: JsonObject;
  },
): Promise<void> {
  const patch = patchOf(await readRollout(client, target));
  const path = pathOf(findKind("rollout"), target.namespace, target.name);
  await client.must(path + patch.subresource, {
    method: "PATCH",
    contentType: "application/merge-patch+json",
    body: patch.body,
  });
}
