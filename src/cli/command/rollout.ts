/** `sluice rollout …`: see a rollout and steer it. */
import { type Command, Option } from "commander";
import type { Resource } from "../../resource/resource.ts";
import {
  type Action,
  abortPatch,
  pausePatch,
  promotePatch,
  resumePatch,
  retryPatch,
  undoPatch,
} from "../../rollout/actions.ts";
import { Client } from "../client.ts";
import { CommandError, EXIT } from "../exit.ts";
import {
  examples,
  parseDurationOption,
  parseWholeNumber,
  type NamespaceFlags,
  withNamespace,
} from "../options.ts";
import { parseOutputFormat, print } from "../output.ts";
import { act, status, watchStatus } from "../rollout-commands.ts";

interface StatusFlags extends NamespaceFlags {
  readonly watch?: boolean;
  readonly timeout: number;
  readonly output: string;
}

export function addRolloutCommands(program: Command): void {
  const rollout = program.command("rollout").description("see a rollout and steer it");
  addStatus(rollout);
  addVerb(rollout, "promote", "go on past the current pause or step")
    .option("--full", "skip all that is left: this version is good")
    .action(async (name: string, flags: NamespaceFlags & { readonly full?: boolean }) => {
      await steer(name, flags, "promoted", (current) =>
        promotePatch(current, { full: flags.full === true }),
      );
    });
  addVerb(rollout, "abort", "take all traffic from the canary, now").action(
    async (name: string, flags: NamespaceFlags) => steer(name, flags, "aborted", abortPatch),
  );
  addVerb(rollout, "retry", "start an aborted rollout again from its first step").action(
    async (name: string, flags: NamespaceFlags) => steer(name, flags, "retried", retryPatch),
  );
  addVerb(rollout, "pause", "stay where it is until resumed").action(
    async (name: string, flags: NamespaceFlags) => steer(name, flags, "paused", pausePatch),
  );
  addVerb(rollout, "resume", "take back a pause").action(
    async (name: string, flags: NamespaceFlags) => steer(name, flags, "resumed", resumePatch),
  );
  addVerb(rollout, "undo", "go back to an earlier revision, as a new rollout")
    .option("--to-revision <n>", "which one; else the one before", parseWholeNumber(1, 2 ** 31))
    .action(async (name: string, flags: NamespaceFlags & { readonly toRevision?: number }) => {
      await steer(name, flags, "undone", (current, revisions) =>
        undoPatch(current, revisions, flags.toRevision ?? 0),
      );
    });
}

function addStatus(rollout: Command): void {
  withNamespace(rollout.command("status"))
    .description("steps, weights, measurements and what they were compared with")
    .argument("<name>")
    .option("-w, --watch", "live, until the rollout is Healthy (exit 0) or Degraded (exit 1)")
    .addOption(
      new Option("--timeout <duration>", "with --watch: give up after this")
        .argParser(parseDurationOption)
        .default(0, "never"),
    )
    .option("-o, --output <format>", "table, json or yaml", "table")
    .addHelpText(
      "after",
      examples(
        "sluice rollout status checkout --watch",
        "sluice rollout status checkout -w --timeout 10m && echo promoted",
      ),
    )
    .action(async (name: string, flags: StatusFlags) => {
      refuseStatusFlags(flags);
      const client = new Client(flags.server);
      const target = { namespace: flags.namespace, name };
      const watching = { timeoutMs: flags.timeout, isTerminal: process.stdout.isTTY };
      process.exitCode =
        flags.watch === true
          ? await watchStatus(client, target, watching)
          : await status(client, target, parseOutputFormat(flags.output));
    });
}

/** What would be passed over in silence. */
function refuseStatusFlags({ watch = false, timeout, output }: StatusFlags): void {
  const valid = watch ? ["table"] : ["table", "json", "yaml"];
  if (!valid.includes(output)) {
    const where = watch ? " with --watch" : "";
    const text = `Unknown output "${output}"${where}; valid: ${valid.join(", ")}`;
    throw new CommandError(text, EXIT.usage);
  }
  if (timeout > 0 && !watch) throw new CommandError("--timeout needs --watch", EXIT.usage);
}

function addVerb(rollout: Command, verb: string, summary: string): Command {
  return withNamespace(rollout.command(verb)).description(summary).argument("<name>");
}

async function steer(
  name: string,
  flags: NamespaceFlags,
  done: string,
  actionOf: (rollout: Resource, revisions: readonly Resource[]) => Action,
): Promise<void> {
  const client = new Client(flags.server);
  await act(client, { namespace: flags.namespace, name }, actionOf);
  print(`rollout/${name} ${done}`);
}
