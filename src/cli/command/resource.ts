/** `sluice check`, `apply`, `get` and `delete`: resources in files and in a running Sluice. */
import type { Command } from "commander";
import { check } from "../check-command.ts";
import { Client } from "../client.ts";
import { CommandError, EXIT } from "../exit.ts";
import {
  collect,
  examples,
  type NamespaceFlags,
  type ServerFlags,
  withNamespace,
  withServer,
} from "../options.ts";
import { parseOutputFormat } from "../output.ts";
import { readDrafts } from "../read-files.ts";
import { apply, get, remove } from "../resource-commands.ts";
import { parseTargets } from "../targets.ts";

interface FileFlags {
  readonly file: readonly string[];
}

interface DeleteFlags extends NamespaceFlags {
  readonly file?: readonly string[];
}

interface GetFlags extends NamespaceFlags {
  readonly allNamespaces?: boolean;
  readonly selector?: string;
  readonly output: string;
}

export function addResourceCommands(program: Command): void {
  program
    .command("check")
    .description("say what is wrong with files, without serving them")
    .requiredOption(
      "-f, --file <path>",
      "a file, a folder or - for standard input; repeatable",
      collect,
    )
    .addHelpText("after", examples("sluice check -f config/canary.yaml -f policies/"))
    .action(async ({ file }: FileFlags) => {
      process.exitCode = await check(file);
    });

  withServer(program.command("apply"))
    .description("create or replace the resources of files")
    .requiredOption(
      "-f, --file <path>",
      "a file, a folder or - for standard input; repeatable",
      collect,
    )
    .option("--dry-run", "everything but the write")
    .addHelpText(
      "after",
      examples(
        "sluice apply -f config/quickstart.yaml",
        "cat app.yaml | sluice apply -f - --dry-run",
      ),
    )
    .action(async (flags: ServerFlags & FileFlags & { readonly dryRun?: boolean }) => {
      const client = new Client(flags.server);
      process.exitCode = await apply(client, flags.file, { dryRun: flags.dryRun === true });
    });

  addGet(program);
  addDelete(program);
}

function addGet(program: Command): void {
  withNamespace(program.command("get"))
    .description("show resources")
    .argument("<kinds>", "such as rollout, httproutes, ro, gateways,httproutes or backend/checkout")
    .argument("[names...]")
    .option("-A, --all-namespaces", "of all namespaces")
    .option("-l, --selector <labels>", "with these labels, such as app=checkout")
    .option("-o, --output <format>", "table, wide, json, yaml or name", "table")
    .addHelpText(
      "after",
      examples(
        "sluice get rollouts -A",
        "sluice get gateways,httproutes",
        "sluice get httproute checkout -o yaml",
      ),
    )
    .action(async (kinds: string, names: string[], flags: GetFlags) => {
      const { selector, allNamespaces } = flags;
      const targets = parseTargets([kinds, ...names]);
      if (allNamespaces === true && targets.some(({ name }) => name !== undefined)) {
        throw new CommandError("With a name, say which namespace: -n instead of -A", EXIT.usage);
      }
      await get(new Client(flags.server), targets, {
        namespace: allNamespaces === true ? "" : flags.namespace,
        output: parseOutputFormat(flags.output),
        ...(selector === undefined ? {} : { selector }),
      });
    });
}

function addDelete(program: Command): void {
  withNamespace(program.command("delete"))
    .description(
      "delete resources by name, or those of files in the namespaces that the files name",
    )
    .argument("[kinds]", "such as backend, or backend/checkout")
    .argument("[names...]")
    .option("-f, --file <path>", "a file, a folder or - for standard input; repeatable", collect)
    .addHelpText(
      "after",
      examples("sluice delete backend checkout", "sluice delete -f config/quickstart.yaml"),
    )
    .action(async (kinds: string | undefined, names: string[], flags: DeleteFlags) => {
      const { namespace } = flags;
      const named = kinds === undefined ? [] : parseTargets([kinds, ...names]);
      const drafts = flags.file === undefined ? [] : await readDrafts(flags.file);
      const targets = [
        ...drafts.map(({ kind: draftKind, metadata }) => ({ kind: draftKind, ...metadata })),
        ...named.map(({ kind: { kind }, name = "" }) => ({ kind, namespace, name })),
      ];
      if (targets.length === 0 || named.some(({ name }) => name === undefined)) {
        throw new CommandError("Say what to delete: a kind and names, or -f", EXIT.usage);
      }
      process.exitCode = await remove(new Client(flags.server), targets);
    });
}
