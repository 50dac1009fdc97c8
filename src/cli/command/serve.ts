/** `sluice up`, `sluice proxy` and `sluice demo`: what serves. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import type { Command } from "commander";
import { demo } from "../demo/demo.ts";
import {
  ACCESS_LOG_HELP,
  collect,
  examples,
  parseAdmin,
  parseWholeNumber,
  type ServeFlags,
  toServeOptions,
  withServe,
} from "../options.ts";
import { proxy } from "../proxy-command.ts";
import { up } from "../up-command.ts";

interface UpFlags extends ServeFlags {
  readonly file?: readonly string[];
  readonly data: string;
}

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
    .description("serve what files and the API say")
    .option("-f, --file <path>", "a file or folder of resources; watched; repeatable", collect)
    .option("--data <dir>", "where state is kept", ".sluice")
    .addHelpText(
      "after",
      examples(
        "sluice up -f config/quickstart.yaml",
        "sluice up -f /etc/sluice/ --data /var/lib/sluice --workers 4",
        "sluice up -f /etc/sluice/ --access-log /var/log/sluice.log --access-log-sample 0.1",
      ),
    )
    .addHelpText("after", ACCESS_LOG_HELP)
    .action(async (flags: UpFlags) => {
      const { file: files = [], data: dataDirectory } = flags;
      process.exitCode = await up(toServeOptions(flags, { files, dataDirectory }));
    });

  withServe(program.command("proxy"), "off")
    .description("serve one backend, and a canary of it; prints the YAML to go on from")
    .requiredOption("--to <url>", "where requests go")
    .option("--canary <url>", "a new version, which gets a rising share of the requests")
    .option("--steps <percents>", "the shares, in whole percents", "5,25,50")
    .option("--listen <address>", "where the gateway listens: [ip]:port or unix:/path", ":8080")
    .addHelpText(
      "after",
      examples(
        "sluice proxy --to http://127.0.0.1:3000",
        "sluice proxy --to http://127.0.0.1:3000 --canary http://127.0.0.1:3001 --steps 5,50",
      ),
    )
    .addHelpText("after", ACCESS_LOG_HELP)
    .action(async (flags: ProxyFlags) => {
      // What a command line says is forgotten with it: it must not meet another's leavings.
      const dataDirectory = mkdtempSync(path.join(tmpdir(), "sluice-proxy-"));
      try {
        process.exitCode = await proxy(flags, toServeOptions(flags, { files: [], dataDirectory }));
      } finally {
        rmSync(dataDirectory, { recursive: true, force: true });
      }
    });

  program
    .command("demo")
    .description("the main job, live: a good version is promoted, a bad one is rolled back")
    .option("--port <n>", "port of the gateway", parseWholeNumber(1, 65_535), 8080)
    .option("--admin <host:port>", "address of the admin API", parseAdmin, "127.0.0.1:9900")
    .option("--once", "end after the story instead of serving on")
    .action(async ({ port, admin, once = false }: DemoFlags) => {
      process.exitCode = await demo({ port, adminAddress: admin, once });
    });
}
