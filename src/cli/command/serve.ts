/** `sluice up`, `sluice proxy` and `sluice demo`: what serves. */
import type { Command } from "commander";
import { demo } from "../demo/demo.ts";
import {
  collect,
  parseWholeNumber,
  type ServeFlags,
  toServeOptions,
  withServe,
} from "../options.ts";
import { proxy } from "../proxy-command.ts";
import { up } from "../up-command.ts";

interface ProxyFlags extends ServeFlags {
  readonly to: string;
  readonly canary?: string;
  readonly steps: string;
  readonly listen: string;
}

interface DemoFlags {
  readonly port: number;
  readonly admin: string;
  readonly once?: boolean;
}

export function addServeCommands(program: Command): void {
  withServe(program.command("up"), "-")
    .summary("serve what files and the API say")
    .option("-f, --file <path>", "a file or folder of resources; watched; repeatable", collect, [])
    .addHelpText(
      "after",
      "\nExample:\n  sluice up -f config/quickstart.yaml --data /var/lib/sluice --workers 4",
    )
    .action(async (flags: ServeFlags & { readonly file: readonly string[] }) => {
      process.exitCode = await up(toServeOptions(flags.file, flags));
    });

  withServe(program.command("proxy"), "off")
    .summary("serve one backend, and a canary of it; prints the YAML to go on from")
    .requiredOption("--to <url>", "where requests go")
    .option("--canary <url>", "a new version, which gets a rising share of the requests")
    .option("--steps <percents>", "the shares, in whole percents", "5,25,50")
    .option("--listen <[ip]:port>", "where the gateway listens", ":8080")
    .addHelpText(
      "after",
      "\nExample:\n  sluice proxy --to http://127.0.0.1:3000 --canary http://127.0.0.1:3001 --steps 5,50",
    )
    .action(async (flags: ProxyFlags) => {
      process.exitCode = await proxy(flags, toServeOptions([], flags));
    });

  program
    .command("demo")
    .summary("the main job, live: a good version is promoted, a bad one is rolled back")
    .option("--port <n>", "port of the gateway", parseWholeNumber(1, 65_535), 8080)
    .option("--admin <host:port>", "address of the admin API", "127.0.0.1:9900")
    .option("--once", "end after the story instead of serving on")
    .action(async ({ port, admin, once = false }: DemoFlags) => {
      process.exitCode = await demo({ port, adminAddress: admin, once });
    });
}
