/** What is wrong with a document, as data: found all at once, never thrown at the user's input. */

export interface Issue {
  /** The file, or undefined for a document that came through the API. */
  readonly file?: string;
  /** 1-based; undefined where the document has no text (an API request in JSON). */
  readonly line?: number;
  readonly column?: number;
  /** Where in the document: "spec.rules[0].backendRefs[1].weight"; empty for all of it. */
  readonly path: string;
  /** What is wrong and what would be valid, in one sentence. */
  readonly message: string;
}

/** One line a person can act on: "routes.yaml:12:9: spec.rules[0].weight: must be at least 0". */
export function formatIssue(issue: Issue): string {
  const position = issue.line === undefined ? [] : [String(issue.line), String(issue.column ?? 1)];
  const place = [issue.file, ...position].filter((part) => part !== undefined).join(":");
  return [place, issue.path, issue.message].filter((part) => part !== "").join(": ");
}
