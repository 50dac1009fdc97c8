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

/** Shows one object or all of a kind; `namespace` "" is all namespaces. */
export async function get(
  client: Client,
  target: { readonly kind: string; readonly name?: string },
  options: GetOptions,
): Promise<void> {
  const kind = findKind(target.kind);
  const query =
    options.selector === undefined ? "" : `?labelSelector=${encodeURIComponent(options.selector)}`;
  const url = pathOf(kind, options.namespace, target.name) + query;
  if (options.output === "json" || options.output === "yaml") {
    print(formatData((await client.must(url)).body, options.output));
    return;
  }
  if (options.output === "name") {
    const found = (await client.must<Resource & { items?: Resource[] }>(url)).body;
    for (const item of found.items ?? [found]) print(`${kind.singular}/${item.metadata.name}`);
    return;
  }
  const table = (await client.must<KubernetesTable>(url, { accept: TABLE })).body;
  const namespaces = options.namespace === "" && kind.namespaced;
  print(
    table.rows.length === 0
      ? `No ${kind.plural} found`
      : formatKubernetesTable(table, { wide: options.output === "wide", namespaces }),
  );
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
