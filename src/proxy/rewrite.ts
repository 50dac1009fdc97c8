/**
 * URLRewrite, RequestRedirect and header edits as Gateway API defines them. Values come from
 * checked resources and paths from a checked head; nothing else can get into a head from here.
 */
import { RE2JS } from "re2js";
import type { HeaderEdits, PathEdit, Redirect } from "../compile/program.ts";
import { TARGET_BYTES_MAX } from "../http1/fault.ts";
import { comparedPath, isForbiddenPath } from "../http1/path.ts";
import { withoutParams } from "./query.ts";
import type { RequestFields } from "./request-fields.ts";
import type { LinkedAuth, LinkedEdits } from "./snapshot.ts";

/**
 * The request target that goes upstream, in origin form: edited path, query as it was sent. Undefined
 * where an expression has made a path of it that nobody may ask for: "/api../x" without its "/api" is one.
 */
export function rewriteTarget(
  head: RequestFields,
  pathEdits: readonly PathEdit[],
  auth: LinkedAuth | null,
): string | undefined {
  let path = head.path;
  for (const edit of pathEdits) {
    path = editPath(path, edit);
    if (edit.type !== "ReplaceRegexMatch") continue;
    if (path.length > TARGET_BYTES_MAX || isForbiddenPath(path)) return undefined;
  }
  const query =
    auth === null || auth.stripParams.length === 0 || head.query === ""
      ? head.query
      : withoutParams(head.query, auth.stripParams);
  return query === "" ? path : `${path}?${query}`;
}

/**
 * Gateway API `HTTPPathModifier`: the prefix is replaced by whole elements, never inside of one.
 */
export function editPath(path: string, edit: PathEdit): string {
  if (edit.type === "ReplaceFullPath") return edit.value === "" ? "/" : edit.value;
  if (edit.type === "ReplaceRegexMatch") return replaceMatches(path, edit);
  const prefix = withoutTrailingSlash(edit.prefix);
  const end = endOfPrefix(path, prefix);
  if (end === -1) return path;
  const edited = withoutTrailingSlash(edit.value) + path.slice(end);
  return edited === "" ? "/" : edited;
}

type RegexEdit = Extract<PathEdit, { type: "ReplaceRegexMatch" }>;

/** Expressions of path edits, compiled when their rule was linked. */
const expressions = new WeakMap<RegexEdit, RE2JS>();

/** Compiles what an edit needs; throws where that is no RE2 expression. */
export function linkPathEdit(edit: PathEdit | undefined): void {
  if (edit?.type === "ReplaceRegexMatch") expressions.set(edit, RE2JS.compile(edit.pattern));
}

const GROUP = /\\([0-9])/g;

/** Envoy Gateway `HTTPPathRegexRewrite`: every match becomes the substitution. */
function replaceMatches(path: string, edit: RegexEdit): string {
  const expression = expressions.get(edit);
  if (expression === undefined) throw new Error("a path edit was not linked");
  const groups = expression.groupCount();
  const edited = expression.matcher(path).replaceAll((...found: (string | undefined)[]) =>
    edit.value.replace(GROUP, (_, digit: string) => {
      const group = Number(digit);
      return group > groups ? "" : (found[group] ?? "");
    }),
  );
  return edited.startsWith("/") ? edited : `/${edited}`;
}

/** Where `prefix`, however it is spelled, ends in `path`; -1 where the path is not inside of it. */
function endOfPrefix(path: string, prefix: string): number {
  if (path.startsWith(prefix) && (path.length === prefix.length || path[prefix.length] === "/")) {
    return prefix.length;
  }
  if (!path.includes("%") && !prefix.includes("%")) return -1;
  let end = 0;
  for (let at = prefix.indexOf("/"); at !== -1; at = prefix.indexOf("/", at + 1)) {
    const next = path.indexOf("/", end + 1);
    end = next === -1 ? path.length : next;
  }
  return comparedPath(path.slice(0, end)) === comparedPath(prefix) ? end : -1;
}

function withoutTrailingSlash(text: string): string {
  return text.endsWith("/") ? text.slice(0, -1) : text;
}

export interface RedirectOrigin {
  readonly scheme: "http" | "https";
  /** The listener's port. */
  readonly port: number;
}

/**
 * The Location of a redirect (Gateway API `HTTPRequestRedirectFilter`). Without `port` it is the
 * scheme's own port where the filter names a scheme, else the listener's; a scheme's own port is
 * left out. A client that named no host gets a path alone (RFC 9110 section 10.2.2).
 */
export function redirectLocation(
  redirect: Redirect,
  head: RequestFields,
  origin: RedirectOrigin,
): string {
  const path = redirect.path === undefined ? head.path : editPath(head.path, redirect.path);
  const target = head.query === "" ? path : `${path}?${head.query}`;
  const host = redirect.hostname ?? head.host;
  // Two slashes at the beginning would name a host (RFC 3986 section 4.2).
  if (host === "") return target.replace(/^\/{2,}/, "/");
  const scheme = redirect.scheme ?? origin.scheme;
  const own = scheme === "https" ? 443 : 80;
  const port = redirect.port ?? (redirect.scheme === undefined ? origin.port : own);
  return `${scheme}://${host}${port === own ? "" : `:${port}`}${target}`;
}

/** Visible characters, blanks and obs-text: what a field value may hold (RFC 9110 section 5.5). */
const FIELD_VALUE = /^[\t\x20-\x7e\x80-\xff]*$/;
const FIELD_NAME = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;

/** Whether a header can be written into a head without becoming something else. */
export function isSafeHeader(name: string, value: string): boolean {
  return FIELD_NAME.test(name) && FIELD_VALUE.test(value);
}

/**
 * Edits as a head is written: `remove` and `set` drop the lines that are there, `set` and `add`
 * append lines of their own, which is how values are added (RFC 9110 section 5.3). `second` is
 * applied to what `first` leaves. Null where there is nothing to do. Throws on a header that cannot
 * be written.
 */
export function linkEdits(
  first: HeaderEdits | undefined,
  second: HeaderEdits | undefined,
): LinkedEdits | null {
  const drop = new Set<string>();
  let appended: (readonly [string, string])[] = [];
  for (const edits of [first, second]) {
    if (edits === undefined) continue;
    const dropped = [...(edits.remove ?? []), ...(edits.set ?? []).map(([name]) => name)];
    const names = new Set(dropped.map((name) => name.toLowerCase()));
    for (const name of names) drop.add(name);
    appended = appended.filter(([name]) => !names.has(name.toLowerCase()));
    appended.push(...(edits.set ?? []), ...(edits.add ?? []));
  }
  if (drop.size === 0 && appended.length === 0) return null;
  for (const [name, value] of appended) {
    if (!isSafeHeader(name, value))
      throw new Error(`Cannot write the header ${JSON.stringify(name)}`);
  }
  return {
    drop,
    append: appended.map(([name, value]) => `${name}: ${value}\r\n`).join(""),
    appended,
  };
}
