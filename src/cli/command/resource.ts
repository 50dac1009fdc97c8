/** `sluice check`, `apply`, `get` and `delete`: resources in files and in a running Sluice. */
import type { Command } from "commander";
import { check } from "../check-command.ts";
import { Client } from "../client.ts";
import { CommandError, EXIT } from "../exit.ts";
import { collect, type ServerFlags, withServer } from "../options.ts";
import { parseOutputFormat } from "../output.ts";
import { apply, get, readDrafts, remove } from "../resource-commands.ts";

interface FileFlags {
  readonly file: readonly string[];
}

interface GetFlags extends ServerFlags {
  readonly allNamespaces?: boolean;
  readonly selector?: string;
  readonly output: string;
}

export function addResourceCommands(program: Command): void {
  program
    .command("check")
    .summary("say what is wrong with files, without serving them")
    .requiredOption("-f, --file <path>", "a file or folder; repeatable", collect, [])
    .action(async ({ file }: FileFlags) => {
      process.exitCode = await check(file);
    });

  withServer(program.command("apply"))
    .summary("create or replace the resources of files")
    .requiredOption("-f, --file <path>", "a file or folder; repeatable", collect, [])
    .option("--dry-run", "everything but the write")
    .action(async (flags: ServerFlags & FileFlags & { readonly dryRun?: boolean }) => {
      const client = new Client(flags.server);
      process.exitCode = await apply(client, flags.file, { dryRun: flags.dryRun === true });
    });

  withServer(program.command("get"))
    .summary("show resources")
    .argument("<kind>", "such as rollout, httproute, backends, ro")
    .argument("[name]")
    .option("-A, --all-namespaces", "of all namespaces")
    .option("-l, --selector <labels>", "with these labels, such as app=checkout")
    .option("-o, --output <format>", "table, wide, json, yaml or name", "table")
    .action(async (kind: string, name: string | undefined, flags: GetFlags) => {
      const { selector } = flags;
      await get(new Client(flags.server), name === undefined ? { kind } : { kind, name }, {
        namespace: flags.allNamespaces === true ? "" : flags.namespace,
        output: parseOutputFormat(flags.output),
        ...(selector === undefined ? {} : { selector }),
      });
    });

  withServer(program.command("delete"))
    .summary("delete resources, by name or as files name them")
    .argument("[kind]")
    .argument("[names...]")
    .option("-f, --file <path>", "a file or folder; repeatable", collect, [])
    .action(async (kind: string | undefined, names: string[], flags: ServerFlags & FileFlags) => {
      const { namespace } = flags;
      const targets = [
        ...readDrafts(flags.file).map((draft) => ({ kind: draft.kind, ...draft.metadata })),
        ...(kind === undefined ? [] : names.map((name) => ({ kind, namespace, name }))),
      ];
      if (targets.length === 0) {
        throw new CommandError("Say what to delete: a kind and names, or -f", EXIT.usage);
      }
      process.exitCode = await remove(new Client(flags.server), targets);
    });
}
