#!/usr/bin/env node
/** The command line: `sluice --help` shows what it can do. Each group of commands has its own file. */
import { Command, CommanderError } from "commander";
import { addResourceCommands } from "./command/resource.ts";
import { addRolloutCommands } from "./command/rollout.ts";
import { addServeCommands } from "./command/serve.ts";
import { addToolCommands } from "./command/tools.ts";
import { CommandError, EXIT } from "./exit.ts";
import { VERSION } from "../process/version.ts";
import { endWithReader, printError } from "./output.ts";

const program = new Command("sluice")
  .description(
    "A progressive-delivery gateway: carries API and LLM traffic, moves it from one version to " +
      "the next, watches every request, and promotes or rolls back on what it sees.",
  )
  .version(VERSION)
  .exitOverride()
  .addHelpText(
    "after",
    `
Examples:
  sluice proxy --to http://127.0.0.1:3000      a gateway on :8080, without any file
  sluice up -f config/quickstart.yaml          serve what a file or folder says; it is watched
  sluice check -f config/quickstart.yaml       say what is wrong with it, change nothing
  sluice rollout status checkout --watch       see a canary go up, or down
  sluice kubeconfig > sluice.kubeconfig        then: kubectl --kubeconfig sluice.kubeconfig get rollouts

Exit codes:
  0  done
  1  the answer is no: problems found, degraded, refused, not found
  2  the command line was not understood
  3  Sluice could not be started or reached`,
  );

addServeCommands(program);
addResourceCommands(program);
addRolloutCommands(program);
addToolCommands(program);
pointToHelp(program, "sluice");

endWithReader();
try {
  await program.parseAsync();
} catch (error) {
  process.exitCode = exitCodeOf(error);
}

/** What was not understood is followed by the help that has the answer. */
function pointToHelp(command: Command, words: string): void {
  command.showHelpAfterError(`(see "${words} --help")`);
  for (const child of command.commands) pointToHelp(child, `${words} ${child.name()}`);
}

/** Help and version are no errors; commander has already written what is wrong with the others. */
function exitCodeOf(error: unknown): number {
  if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT.ok : EXIT.usage;
  if (!(error instanceof CommandError)) throw error;
  printError(error.message);
  return error.code;
}
