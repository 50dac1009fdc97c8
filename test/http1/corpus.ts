/** The HTTP/1.1 corpora as they lie in shared/cases/http1, whose README says what their fields mean. */
import { existsSync, readFileSync } from "node:fs";

const CASES = new URL("../../../shared/cases/http1/", import.meta.url);

/** False, or why the tests that need the corpora are skipped. */
export const missing = existsSync(CASES) ? false : "the corpora are not here";

interface Piece {
  readonly repeat: string;
  readonly count: number;
  readonly index?: string;
}

export interface Case {
  readonly id: string;
  readonly scored: boolean;
  readonly rawRequest?: string | null;
  readonly rawParts?: readonly (string | Piece)[] | null;
  readonly verdict: {
    readonly pass: readonly string[];
    readonly warn: readonly string[];
    readonly requireClose?: boolean;
  };
}

export interface Condition {
  readonly step?: number;
  readonly status?: readonly string[];
  readonly statusNot?: readonly string[];
  readonly closed?: boolean;
  readonly executed?: boolean;
  readonly nextExecuted?: boolean;
  readonly responsesAtLeast?: number;
  readonly and?: Condition;
}

export interface Sequence {
  readonly id: string;
  readonly scored: boolean;
  readonly steps: readonly { readonly raw: string }[];
  readonly judge: readonly {
    readonly when?: Condition;
    readonly otherwise?: boolean;
    readonly verdict: string;
  }[];
}

export interface LlhttpCase {
  readonly id: string;
  readonly type: "request" | "response";
  readonly mode: string;
  readonly raw: string;
  readonly accept: boolean;
  readonly messages: number;
}

function load(name: string): unknown {
  return missing === false ? JSON.parse(readFileSync(new URL(name, CASES), "utf8")) : [];
}

export const cases = load("cases.json") as readonly Case[];
export const sequences = load("sequences.json") as readonly Sequence[];
export const llhttpCases = load("llhttp.json") as readonly LlhttpCase[];

/** What a case sends, one character for each byte. */
export function bytesOf({ rawRequest, rawParts }: Case): string {
  if (typeof rawRequest === "string") return rawRequest;
  return (rawParts ?? []).map(expand).join("");
}

function expand(part: string | Piece): string {
  if (typeof part === "string") return part;
  const { repeat, count, index } = part;
  if (index === undefined) return repeat.repeat(count);
  return Array.from({ length: count }, (_, at) => repeat.replaceAll(index, String(at))).join("");
}

/** Requests of a general parser's corpus with the Host that a gateway asks for. */
export function withHost(raw: string): string {
  return raw
    .split(/(?<=\r\n\r\n)(?=[A-Z-]+ )/)
    .map((message) =>
      /^host:/im.test(message) ? message : message.replace("\r\n", "\r\nHost: localhost\r\n"),
    )
    .join("");
}
