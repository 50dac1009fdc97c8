/** Programs of the host that tests drive: run.ts installs them, and where it cannot, tests are skipped. */
import { spawnSync } from "node:child_process";

/** False, or why a test that needs `command` is skipped. */
export function lacks(command: string): false | string {
  const found = spawnSync("sh", ["-c", `command -v ${command}`]).status === 0;
  return found ? false : `${command} is not installed`;
}
