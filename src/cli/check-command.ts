/** `sluice check`: parses and compiles files as `up` would, and says what is wrong with them. */
import { analysisRule } from "../admission/analysis-rule.ts";
import { rolloutRule } from "../admission/rollout-rule.ts";
import { AdmissionError, createWriter } from "../admission/writer.ts";
import { systemClock } from "../base/clock.ts";
import { compile } from "../compile/compile.ts";
import { isOurClass } from "../compile/gateway-class.ts";
import { formatProblem, problemsOf } from "../compile/problems.ts";
import { isOfKind } from "../compile/stored.ts";
import { certificateProblems } from "../compile/wanted-certificates.ts";
import { readCertificateFiles } from "../process/certificate-files.ts";
import { formatIssue } from "../resource/issue.ts";
import type { Resource, ResourceDraft } from "../resource/resource.ts";
import { missingTemplates } from "../rollout/templates.ts";
import { openSqliteStore } from "../store/sqlite.ts";
import { type Store, StoreError } from "../store/store.ts";
import { EXIT } from "./exit.ts";
import { print, printError } from "./output.ts";
import { readFiles } from "./read-files.ts";

/** Prints every issue and every unmet reference; the exit code says whether there was one. */
export async function check(paths: readonly string[]): Promise<number> {
  const { drafts, issues, fileCount } = await readFiles(paths);
  // With a document missing, what refers to it would seem wrong too.
  const { problems, notes } =
    issues.length > 0
      ? { problems: issues.map(formatIssue), notes: [] }
      : await lookBetween(drafts);
  for (const line of [...problems, ...notes]) printError(line);
  const seen = `${counted(drafts.length, "resource")} in ${counted(fileCount, "file")}`;
  print(`${seen}: ${problems.length === 0 ? "no problems" : counted(problems.length, "problem")}`);
  return problems.length === 0 ? EXIT.ok : EXIT.no;
}

/** What no compilation says, for it is others than the data plane who would stumble over it. */
const BETWEEN: readonly {
  readonly kind: string;
  readonly look: (resource: Resource, get: Store["get"]) => readonly string[];
}[] = [
  { kind: "Rollout", look: missingTemplates },
  { kind: "Certificate", look: (resource, get) => certificateProblems({ get }, resource) },
];

interface Found {
  readonly problems: readonly string[];
  /** What is as it should be, and yet worth a word. */
  readonly notes: readonly string[];
}

/**
 * Gateways of other controllers' classes, which Sluice must leave alone. That is no problem of the
 * files, which may hold both; but nobody should look for their traffic here without a word.
 */
function leftToOthers(store: Pick<Store, "get" | "list">): readonly string[] {
  const get = store.get.bind(store);
  return store
    .list("Gateway")
    .filter(({ spec }) => !isOurClass({ get }, spec?.["gatewayClassName"]))
    .map(
      ({ metadata, spec }) =>
        `Gateway ${metadata.namespace}/${metadata.name}: not served: its class ` +
        `${JSON.stringify(spec?.["gatewayClassName"])} is not Sluice's`,
    );
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
  const get = store.get.bind(store);
  try {
    const writer = createWriter({ store, rules: [rolloutRule, analysisRule] });
    await writer.write(drafts.map((resource) => ({ op: "create", resource })));
    const compiled = compile({
      get,
      list: (kind, namespace) => store.list(kind, namespace),
      unavailableSockets: new Map(),
      failedParts: new Map(),
      certificateFiles: readCertificateFiles(
        store.list("Gateway").filter((one) => isOfKind(one, "Gateway")),
      ),
    });
    const between = BETWEEN.flatMap(({ kind, look }) =>
      store.list(kind).flatMap((resource) => {
        const { namespace, name } = resource.metadata;
        return look(resource, get).map((problem) => `${kind} ${namespace}/${name}: ${problem}`);
      }),
    );
    return {
      problems: [...problemsOf(compiled).map(formatProblem), ...between],
      notes: leftToOthers(store),
    };
  } catch (error) {
    if (error instanceof AdmissionError || error instanceof StoreError) {
      return { problems: [error.message], notes: [] };
    }
    throw error;
  } finally {
    store.close();
  }
}
