/** How results are written: tables for people, JSON and YAML for programs. */
import { stringify } from "yaml";
import { CommandError, EXIT } from "./exit.ts";

export type OutputFormat = "table" | "wide" | "json" | "yaml" | "name";

/** kubectl and our own parser read YAML 1.1's booleans: a string "yes" needs its quotes. */
const KUBERNETES_YAML = { version: "1.1" } as const;

const FORMATS: readonly string[] = ["table", "wide", "json", "yaml", "name"];

export function parseOutputFormat(text: string): OutputFormat {
  if (FORMATS.includes(text)) return text as OutputFormat;
  throw new CommandError(`Unknown output "${text}"; valid: ${FORMATS.join(", ")}`, EXIT.usage);
}

export function print(text: string): void {
  process.stdout.write(text.endsWith("\n") ? text : `${text}\n`);
}

export function printError(text: string): void {
  process.stderr.write(`${text}\n`);
}

/** From now on a reader that leaves, as `head` does, ends the process: nothing is left to do. */
export function endWithReader(): void {
  process.stdout.on("error", endWithoutReader);
}

/** Takes `endWithReader` back: what serves goes on, whoever reads. */
export function outliveReader(): void {
  process.stdout.off("error", endWithoutReader);
  for (const stream of [process.stdout, process.stderr]) stream.on("error", () => undefined);
}

function endWithoutReader(error: NodeJS.ErrnoException): never {
  if (error.code === "EPIPE") process.exit(EXIT.ok);
  printError(`Cannot write the output: ${error.message}`);
  process.exit(EXIT.no);
}

/** One object or list as JSON or YAML. */
export function formatData(value: unknown, format: "json" | "yaml"): string {
  return format === "json"
    ? `${JSON.stringify(value, null, 2)}\n`
    : stringify(value, KUBERNETES_YAML);
}

/** Columns wide enough for their longest cell, three blanks apart, as kubectl aligns them. */
export function formatTable(
  header: readonly string[],
  rows: readonly (readonly string[])[],
): string {
  const all = [header, ...rows];
  const widths = header.map((_, column) =>
    Math.max(...all.map((row) => (row[column] ?? "").length)),
  );
  return all
    .map((row) =>
      row
        .map((cell, column) => cell.padEnd(widths[column] as number))
        .join("   ")
        .trimEnd(),
    )
    .join("\n");
}

/** `meta.k8s.io/v1` Table, the part of it that is shown. */
export interface KubernetesTable {
  readonly columnDefinitions: readonly { readonly name: string; readonly priority?: number }[];
  readonly rows: readonly {
    readonly cells: readonly (string | number | boolean | null)[];
    readonly object?: { readonly metadata?: { readonly namespace?: string } };
  }[];
}

/**
 * A Kubernetes `Table` as text; columns of priority above 0 are shown by `wide` alone. With `kind`, names
 * are written as `kind/name`.
 */
export function formatKubernetesTable(
  { columnDefinitions, rows }: KubernetesTable,
  options: { readonly wide: boolean; readonly namespaces: boolean; readonly kind?: string },
): string {
  const shown = columnDefinitions.flatMap(({ priority = 0 }, index) =>
    options.wide || priority === 0 ? [index] : [],
  );
  const space = (text: string): string[] => (options.namespaces ? [text] : []);
  const nameAt = columnDefinitions.findIndex(({ name }) => name === "Name");
  const prefix = options.kind === undefined ? "" : `${options.kind}/`;
  return formatTable(
    [...space("NAMESPACE"), ...shown.map((at) => columnDefinitions[at]?.name.toUpperCase() ?? "")],
    rows.map((row) => [
      ...space(row.object?.metadata?.namespace ?? ""),
      ...shown.map((at) => `${at === nameAt ? prefix : ""}${row.cells[at] ?? ""}`),
    ]),
  );
}
