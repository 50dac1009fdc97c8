/** `sluice check`: parses and compiles files as `up` would, and says what is wrong with them. */
import { analysisRule } from "../admission/analysis-rule.ts";
import { rolloutRule } from "../admission/rollout-rule.ts";
import { AdmissionError, createWriter } from "../admission/writer.ts";
import { systemClock } from "../base/clock.ts";
import { compile } from "../compile/compile.ts";
import { GATEWAY_CLASS } from "../compile/compiled.ts";
import { isOurClass } from "../compile/gateway-class.ts";
import { problemsOf } from "../compile/problems.ts";
import { isOfKind } from "../compile/stored.ts";
import { readCertificateFiles } from "../process/certificate-files.ts";
import { unmetBeside } from "../process/unmet-references.ts";
import { formatIssue, type Issue } from "../resource/issue.ts";
import { KINDS } from "../resource/kinds.ts";
import { pathText } from "../resource/message.ts";
import { type Cause, keyOf, type ResourceDraft, type ResourceKey } from "../resource/resource.ts";
import { rivalry } from "../rollout/unmet.ts";
import { openSqliteStore } from "../store/sqlite.ts";
import { type Store, StoreError } from "../store/store.ts";
import { whatThereIs } from "./alternatives.ts";
import { EXIT } from "./exit.ts";
import { print, printError } from "./output.ts";
import { readFiles, type ReadFiles } from "./read-files.ts";

/** Prints a line for each field that is wrong; the exit code says whether there was one. */
export async function check(paths: readonly string[]): Promise<number> {
  const files = await readFiles(paths);
  const { drafts, issues, fileCount } = files;
  // With a document missing, what refers to it would seem wrong too.
  const { wrong, notes } = issues.length > 0 ? { wrong: [], notes: [] } : await lookBetween(drafts);
  const problems = [...issues.map(formatIssue), ...linesOf(wrong, files)];
  for (const line of [...problems, ...linesOf(notes, files)]) printError(line);
  const seen = `${counted(drafts.length, "resource")} in ${counted(fileCount, "file")}`;
  print(`${seen}: ${problems.length === 0 ? "no problems" : counted(problems.length, "problem")}`);
  return problems.length === 0 ? EXIT.ok : EXIT.no;
}

/** A field that is wrong, and whose it is. */
type Wrong = Cause & { readonly resource: ResourceKey };

interface Found {
  readonly wrong: readonly Wrong[];
  /** What is as it should be, and yet worth a word. */
  readonly notes: readonly Wrong[];
}

/** In the order of the files; what several resources say of one field is said once. */
function linesOf(wrong: readonly Wrong[], files: ReadFiles): readonly string[] {
  const order = new Map(files.drafts.map((draft, index) => [fileOf(draft, files), index]));
  const issues = wrong.map((one) => issueOf(one, files));
  const rank = ({ file = "" }: Issue): number => order.get(file) ?? order.size;
  const sorted = issues.toSorted(
    (a, b) =>
      rank(a) - rank(b) || (a.line ?? 0) - (b.line ?? 0) || (a.column ?? 0) - (b.column ?? 0),
  );
  return [...new Set(sorted.map(formatIssue))];
}

function fileOf(draft: ResourceDraft, files: ReadFiles): string {
  return files.positionOf(keyOf(draft), [])?.file ?? "";
}

function issueOf({ resource, path, message }: Wrong, files: ReadFiles): Issue {
  const position = files.positionOf(resource, path);
  if (position !== undefined) return { ...position, path: pathText(path), message };
  const { kind, namespace, name } = resource;
  const whose = `${kind} ${namespace === "" ? name : `${namespace}/${name}`}`;
  return { path: `${whose}: ${pathText(path)}`, message };
}

/**
 * Gateways of other controllers' classes, which Sluice must leave alone. That is no problem of the
 * files, which may hold both; but nobody should look for their traffic here without a word.
 */
function leftToOthers(store: Pick<Store, "get" | "list">): readonly Wrong[] {
  const get = store.get.bind(store);
  return store
    .list("Gateway")
    .filter(({ spec }) => !isOurClass({ get }, spec?.["gatewayClassName"]))
    .map((gateway) => {
      const className = JSON.stringify(gateway.spec?.["gatewayClassName"]);
      const message =
        `${className} is no class of Sluice's: the Gateway is not served; ` +
        `valid: ${GATEWAY_CLASS}, or a GatewayClass that names its controller`;
      return { resource: keyOf(gateway), path: ["spec", "gatewayClassName"], message };
    });
}

function counted(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? "" : "s"}`;
}

/**
 * What is wrong between resources that are well formed each for itself: they are stored in memory,
 * through the door that all changes take, and compiled as `up` would.
 */
async function lookBetween(drafts: readonly ResourceDraft[]): Promise<Found> {
  const store = openSqliteStore({ path: ":memory:", clock: systemClock });
  try {
    const refused = await storeAll(store, drafts);
    // What was refused is missing now, and what names it would seem wrong too.
    if (refused.length > 0) return { wrong: refused, notes: [] };
    const wrong = [...compiledProblems(store), ...problemsBeside(store)];
    const hinted = wrong.map((one) => {
      const hint = one.missing === undefined ? "" : whatThereIs(store, one.missing);
      return { ...one, message: `${one.message}${hint}` };
    });
    return { wrong: hinted, notes: leftToOthers(store) };
  } finally {
    store.close();
  }
}

/** Stores all drafts in one commit; where that is refused one by one, for all that is wrong. */
async function storeAll(store: Store, drafts: readonly ResourceDraft[]): Promise<readonly Wrong[]> {
  const writer = createWriter({ store, rules: [rolloutRule, analysisRule] });
  const write = async (resources: readonly ResourceDraft[]): Promise<Cause | undefined> => {
    try {
      await writer.write(resources.map((resource) => ({ op: "create", resource })));
      return undefined;
    } catch (error) {
      if (error instanceof AdmissionError)
        return error.field ?? { path: [], message: error.message };
      if (error instanceof StoreError) return { path: [], message: error.message };
      throw error;
    }
  };
  if ((await write(drafts)) === undefined) return [];
  const wrong: Wrong[] = [];
  for (const draft of drafts) {
    const cause = await write([draft]);
    if (cause !== undefined) wrong.push({ resource: keyOf(draft), ...cause });
  }
  return wrong;
}

function compiledProblems(store: Store): readonly Wrong[] {
  const compiled = compile({
    get: store.get.bind(store),
    list: (kind, namespace) => store.list(kind, namespace),
    unavailableSockets: new Map(),
    failedParts: new Map(),
    certificateFiles: readCertificateFiles(
      store.list("Gateway").filter((one) => isOfKind(one, "Gateway")),
    ),
  });
  return problemsOf(compiled).flatMap(({ resource, causes }) =>
    causes.map((cause) => ({ resource, ...cause })),
  );
}

/** What no compilation says. */
function problemsBeside(store: Store): readonly Wrong[] {
  const rollouts = store.list("Rollout");
  return KINDS.flatMap(({ kind }) => store.list(kind)).flatMap((resource) => {
    const rivals = resource.kind === "Rollout" ? rivalry(resource, rollouts) : [];
    const causes = [...unmetBeside(store, resource), ...rivals];
    return causes.map((cause) => ({ resource: keyOf(resource), ...cause }));
  });
}
