/** `sluice apply`, `get` and `delete`: resources through the admin API. */
import type { Resource } from "../resource/resource.ts";
import { type Client, findKind, messageOf, pathOf } from "./client.ts";
import { EXIT } from "./exit.ts";
import {
  formatData,
  formatKubernetesTable,
  type KubernetesTable,
  type OutputFormat,
  print,
  printError,
} from "./output.ts";
import { readDrafts } from "./read-files.ts";
import type { Target } from "./targets.ts";

const TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";

/** Creates or replaces each resource of the files; what is already as written is left alone. */
export async function apply(
  client: Client,
  paths: readonly string[],
  options: { readonly dryRun: boolean },
): Promise<number> {
  let code: number = EXIT.ok;
  for (const draft of await readDrafts(paths)) {
    const { verb, answer } = await client.apply(draft, options);
    const name = `${findKind(draft.kind).singular}/${draft.metadata.name}`;
    if (answer.status >= 400) {
      printError(`${name}: ${messageOf(answer)}`);
      code = EXIT.no;
    } else print(`${name} ${verb}${options.dryRun ? " (dry run)" : ""}`);
    for (const warning of answer.warnings) printError(`Warning: ${name}: ${warning}`);
  }
  return code;
}

export interface GetOptions {
  readonly namespace: string;
  readonly output: OutputFormat;
  readonly selector?: string;
}

/** Shows objects by name, or all of their kinds; `namespace` "" is all namespaces. */
export async function get(
  client: Client,
  targets: readonly Target[],
  options: GetOptions,
): Promise<void> {
  const { output } = options;
  if (output === "table" || output === "wide") {
    await showTables(client, targets, options);
    return;
  }
  const found: (Resource & { readonly items?: readonly Resource[] })[] = [];
  for (const target of targets)
    found.push((await client.must<Resource>(urlOf(target, options))).body);
  const items = found.flatMap((one) => one.items ?? [one]);
  if (output === "name") {
    for (const item of items) print(`${findKind(item.kind).singular}/${item.metadata.name}`);
  } else {
    const several = { apiVersion: "v1", kind: "List", metadata: { resourceVersion: "" }, items };
    print(formatData(found.length === 1 ? found[0] : several, output));
  }
}

/** A table for each kind of which there is something; of several kinds, names say which. */
async function showTables(
  client: Client,
  targets: readonly Target[],
  options: GetOptions,
): Promise<void> {
  const kinds = [...new Set(targets.map(({ kind }) => kind))];
  const texts: string[] = [];
  for (const kind of kinds) {
    const tables: KubernetesTable[] = [];
    for (const target of targets.filter((one) => one.kind === kind)) {
      const url = urlOf(target, options);
      tables.push((await client.must<KubernetesTable>(url, { accept: TABLE })).body);
    }
    const columnDefinitions = tables[0]?.columnDefinitions ?? [];
    const rows = tables.flatMap((one) => one.rows);
    if (rows.length === 0) continue;
    const format = {
      wide: options.output === "wide",
      namespaces: options.namespace === "" && kind.namespaced,
      ...(kinds.length > 1 && { kind: kind.singular }),
    };
    texts.push(formatKubernetesTable({ columnDefinitions, rows }, format));
  }
  const none = `No ${kinds.map(({ plural }) => plural).join(", ")} found`;
  print(texts.length === 0 ? none : texts.join("\n\n"));
}

function urlOf({ kind, name }: Target, { namespace, selector }: GetOptions): string {
  const query = selector === undefined ? "" : `?labelSelector=${encodeURIComponent(selector)}`;
  return pathOf(kind, namespace, name) + query;
}

/** Deletes named objects, or what the files hold. */
export async function remove(
  client: Client,
  targets: readonly { kind: string; namespace: string; name: string }[],
): Promise<number> {
  let code: number = EXIT.ok;
  for (const target of targets) {
    const kind = findKind(target.kind);
    const url = pathOf(kind, target.namespace, target.name);
    const answer = await client.send(url, { method: "DELETE" });
    const name = `${kind.singular}/${target.name}`;
    if (answer.status < 400) print(`${name} deleted`);
    else {
      printError(messageOf(answer));
      code = EXIT.no;
    }
    for (const warning of answer.warnings) printError(`Warning: ${name}: ${warning}`);
  }
  return code;
}
