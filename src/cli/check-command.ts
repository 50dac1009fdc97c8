/** `sluice check`: parses and compiles files as `up` would, and says what is wrong with them. */
import { readFileSync } from "node:fs";
import { analysisRule } from "../admission/analysis-rule.ts";
import { rolloutRule } from "../admission/rollout-rule.ts";
import { AdmissionError, createWriter } from "../admission/writer.ts";
import { systemClock } from "../base/clock.ts";
import { compile } from "../compile/compile.ts";
import type { Compiled } from "../compile/compiled.ts";
import { formatProblem, problemsOf } from "../compile/problems.ts";
import { formatIssue } from "../resource/issue.ts";
import { parseDocuments } from "../resource/parse.ts";
import type { ResourceDraft } from "../resource/resource.ts";
import { openSqliteStore } from "../store/sqlite.ts";
import { StoreError } from "../store/store.ts";
import { EXIT } from "./exit.ts";
import { print, printError } from "./output.ts";
import { filesOf } from "./resource-commands.ts";

/** Prints every issue and every unmet reference; the exit code says whether there was one. */
export async function check(paths: readonly string[]): Promise<number> {
  const files = filesOf(paths);
  const parsed = files.map((file) => parseDocuments(readFileSync(file, "utf8"), file));
  const drafts = parsed.flatMap(({ documents }) => documents.map(({ draft }) => draft));
  const problems = [
    ...parsed.flatMap(({ issues }) => issues.map(formatIssue)),
    ...(await problemsBetween(drafts)),
  ];
  for (const problem of problems) printError(problem);
  const seen = `${drafts.length} resources in ${files.length} files`;
  print(problems.length === 0 ? `${seen}: no problems` : `${seen}: ${problems.length} problems`);
  return problems.length === 0 ? EXIT.ok : EXIT.no;
}

/** What is wrong between resources that are well formed each for itself. */
async function problemsBetween(drafts: readonly ResourceDraft[]): Promise<string[]> {
  try {
    return problemsOf(await compileDrafts(drafts)).map(formatProblem);
  } catch (error) {
    if (error instanceof AdmissionError || error instanceof StoreError) return [error.message];
    throw error;
  }
}

/** The drafts compiled as `up` would: stored in memory, through the door that all changes take. */
async function compileDrafts(drafts: readonly ResourceDraft[]): Promise<Compiled> {
  const store = openSqliteStore({ path: ":memory:", clock: systemClock });
  try {
    const writer = createWriter({ store, rules: [rolloutRule, analysisRule] });
    await writer.write(drafts.map((resource) => ({ op: "create", resource })));
    return compile({
      get: (kind, namespace, name) => store.get(kind, namespace, name),
      list: (kind, namespace) => store.list(kind, namespace),
      unavailableSockets: new Map(),
    });
  } finally {
    store.close();
  }
}
