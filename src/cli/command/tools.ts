/** `sluice schema`, `kubeconfig` and `backup`: what editors, kubectl and operators need. */
import type { Command } from "commander";
import { kubeconfigText } from "../../admin/kubeconfig.ts";
import { jsonSchema } from "../../resource/openapi.ts";
import { backupStore } from "../../store/backup.ts";
import { storePath } from "../../store/lock.ts";
import { CommandError } from "../exit.ts";
import { type ServerFlags, withServer } from "../options.ts";
import { print } from "../output.ts";

export function addToolCommands(program: Command): void {
  program
    .command("schema")
    .description("the JSON Schema of all kinds, for editors")
    .addHelpText(
      "after",
      "\nExample, as the first line of a YAML file:\n" +
        "  # yaml-language-server: $schema=sluice.schema.json",
    )
    .action(() => print(JSON.stringify(jsonSchema(), null, 2)));

  withServer(program.command("kubeconfig"))
    .description("a kubeconfig for kubectl and other Kubernetes clients")
    .action(({ server }: ServerFlags) => print(kubeconfigText(server)));

  program
    .command("backup")
    .description("copy the state of a running or stopped Sluice into one file")
    .argument("<file>")
    .option("--data <dir>", "the data directory", ".sluice")
    .action(async (file: string, { data }: { readonly data: string }) => {
      try {
        await backupStore(storePath(data), file);
      } catch (error) {
        throw new CommandError((error as Error).message);
      }
      print(`${file} written`);
    });
}
