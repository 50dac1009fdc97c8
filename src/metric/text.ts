/** Prometheus' text format, version 0.0.4: how names, labels and numbers are written. */

export const CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8";

export interface FamilyHead {
  readonly name: string;
  readonly help: string;
  readonly type: "counter" | "gauge" | "histogram";
}

/** The two lines before a family's samples. */
export function headText({ name, help, type }: FamilyHead): string {
  return `# HELP ${name} ${escaped(help)}\n# TYPE ${name} ${type}\n`;
}

/** Labels as they stand in braces: `route="shop/web",version="2"`. */
export function labelText(labels: Readonly<Record<string, string>>): string {
  return Object.entries(labels)
    .map(([name, value]) => `${name}="${escaped(value).replaceAll('"', '\\"')}"`)
    .join();
}

/** One line; `labels` are of `labelText`, or empty. */
export function sampleText(name: string, labels: string, value: number): string {
  return labels === "" ? `${name} ${value}\n` : `${name}{${labels}} ${value}\n`;
}

function escaped(text: string): string {
  return text.replaceAll("\\", "\\\\").replaceAll("\n", "\\n");
}
