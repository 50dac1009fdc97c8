/** `sluice check`: parses and compiles files as `up` would, and says what is wrong with them. */
import { readFileSync } from "node:fs";
import { compile } from "../compile/compile.ts";
import { problemsOf } from "../compile/problems.ts";
import { formatIssue } from "../resource/issue.ts";
import { parseDocuments } from "../resource/parse.ts";
import type { Resource, ResourceDraft } from "../resource/resource.ts";
import { EXIT } from "./exit.ts";
import { print, printError } from "./output.ts";
import { filesOf } from "./resource-commands.ts";

/** Prints every issue and every unmet reference; the exit code says whether there was one. */
export function check(paths: readonly string[]): number {
  const files = filesOf(paths);
  const parsed = files.map((file) => parseDocuments(readFileSync(file, "utf8"), file));
  const issues = parsed.flatMap((each) => each.issues);
  for (const issue of issues) printError(formatIssue(issue));
  const drafts = parsed.flatMap(({ documents }) => documents.map(({ draft }) => draft));
  const problems = problemsOf(compile(inputOf(drafts)));
  for (const { resource, type, reason, message } of problems) {
    const { kind, namespace, name } = resource;
    printError(`${kind} ${namespace}/${name}: ${type}: ${reason}: ${message}`);
  }
  const count = issues.length + problems.length;
  const seen = `${drafts.length} resources in ${files.length} files`;
  print(count === 0 ? `${seen}: no problems` : `${seen}: ${count} problems`);
  return count === 0 ? EXIT.ok : EXIT.no;
}

/** Drafts as if they had just been stored, in the order of the files. */
function inputOf(drafts: readonly ResourceDraft[]): Parameters<typeof compile>[0] {
  const stored = drafts.map((draft, index): Resource => ({
    ...draft,
    metadata: {
      ...draft.metadata,
      uid: `file-${index}`,
      resourceVersion: String(index + 1),
      generation: 1,
      creationTimestamp: new Date(0).toISOString(),
    },
  }));
  return {
    list: (kind, namespace) =>
      stored.filter(
        (each) =>
          each.kind === kind && (namespace === undefined || each.metadata.namespace === namespace),
      ),
    get: (kind, namespace, name) =>
      stored.find(
        ({ kind: itsKind, metadata }) =>
          itsKind === kind && metadata.namespace === namespace && metadata.name === name,
      ),
    unavailableSockets: new Map(),
  };
}
