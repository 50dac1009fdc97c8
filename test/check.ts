/** `npm run check`: types, lint, format, dead code, house rules and fast tests, in under a minute. */
import { spawnSync } from "node:child_process";
import { globSync } from "node:fs";

const { execPath, stdout } = process;

/** Folders whose tests need no sockets under load and finish in seconds. */
const FAST = ["resource", "compile", "analysis", "rollout", "shared", "link", "http1"];

/** Golden files are written by tests, so that they are left as they are. */
const FORMATTED = ["**/*.ts", "src/**/*.md", "!node_modules", "!dist"];

const STEPS: readonly { name: string; command: readonly string[] }[] = [
  { name: "types", command: ["npx", "--no-install", "tsc", "--noEmit"] },
  { name: "lint", command: ["npx", "--no-install", "oxlint", "--type-aware"] },
  { name: "format", command: ["npx", "--no-install", "oxfmt", "--check", ...FORMATTED] },
  { name: "dead code", command: ["npx", "--no-install", "knip"] },
  {
    name: "house rules and fast tests",
    command: [
      execPath,
      "--test",
      "--test-reporter=dot",
      "test/tidy.test.ts",
      ...FAST.flatMap((folder) => globSync(`test/${folder}/*.test.ts`)).toSorted(),
    ],
  },
];

let failed = false;
for (const { name, command } of STEPS) {
  const [program, ...args] = command;
  const started = performance.now();
  const result = spawnSync(program as string, args, { encoding: "utf8" });
  const seconds = ((performance.now() - started) / 1000).toFixed(1);
  const ok = result.status === 0;
  stdout.write(`${ok ? "ok    " : "FAILED"} ${name} (${seconds} s)\n`);
  if (!ok) {
    failed = true;
    stdout.write(`${result.stdout}${result.stderr}\n`);
  }
}
process.exit(failed ? 1 : 0);
