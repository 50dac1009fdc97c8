/** Filters of HTTPRoute (Gateway API `HTTPRouteFilter`), in the form that workers apply. */
import type { HeaderFilter } from "../resource/header-filter.ts";
import type { HttpFilter } from "../resource/http-filter.ts";
import type { MirrorFilter } from "../resource/mirror-filter.ts";
import type { FieldPath } from "../resource/resource.ts";
import type { BackendProblem } from "./compiled.ts";
import { readCors } from "./cors.ts";
import type { Filters, HeaderEdits, PathEdit, Redirect, UrlRewrite } from "./program.ts";
import { problemAt } from "./references.ts";
import type { BackendReference, ReferenceProblem, ResolvedReference } from "./references.ts";
import type { ExtensionOf } from "./route-filters.ts";
import type { Mirror } from "./rule-part.ts";

type Mutable<T> = { -readonly [Key in keyof T]: T[Key] };
type PathModifier = NonNullable<NonNullable<HttpFilter["urlRewrite"]>["path"]>;

export interface FilterInput {
  /** Where the list of filters stands, without its name. */
  readonly path: FieldPath;
  /** The path that the rule matched, which ReplacePrefixMatch replaces. */
  readonly prefix: string;
  readonly extensionOf: ExtensionOf;
  /** `mirror`: what goes there are copies. */
  readonly resolve: (reference: BackendReference, mirror: boolean) => ResolvedReference;
  readonly namespace: string;
  /** What is wrong with references is added to these. */
  readonly problems: ReferenceProblem[];
}

export interface FilterResult {
  readonly filters: Filters;
  /**
   * A filter cannot be applied as it is written: requests must not pass without it (Gateway API
   * `HTTPRouteFilter.type`), so they are answered with 500.
   */
  readonly broken: boolean;
}

export function readFilters(
  filters: readonly HttpFilter[] | undefined,
  input: FilterInput,
): FilterResult {
  const read: Mutable<Filters> = {};
  const mirrors: Mirror[] = [];
  let broken = false;
  for (const [index, filter] of (filters ?? []).entries()) {
    if (filter.requestHeaderModifier !== undefined) {
      read.requestHeaders = readHeaders(filter.requestHeaderModifier);
    }
    if (filter.responseHeaderModifier !== undefined) {
      read.responseHeaders = readHeaders(filter.responseHeaderModifier);
    }
    if (filter.urlRewrite !== undefined) {
      read.rewrite = { ...read.rewrite, ...readRewrite(filter.urlRewrite, input.prefix) };
    }
    if (filter.requestRedirect !== undefined) {
      read.redirect = readRedirect(filter.requestRedirect, input.prefix);
    }
    if (filter.cors !== undefined) read.cors = readCors(filter.cors);
    if (filter.requestMirror !== undefined) {
      mirrors.push(...readMirror(filter.requestMirror, index, input));
    }
  }
  // After all others, so that what they change is known, wherever in the list they stand.
  for (const [index, { extensionRef }] of (filters ?? []).entries()) {
    if (extensionRef === undefined) continue;
    const problem = addExtension(read, extensionRef, input);
    if (problem === undefined) continue;
    broken = true;
    const path = [...input.path, "filters", index, "extensionRef"];
    input.problems.push(problemAt(path, problem));
  }
  if (mirrors.length > 0) read.mirrors = mirrors;
  return { filters: broken ? {} : read, broken };
}

/** A mirror that cannot be followed is said on the route and left out: requests go on without. */
function readMirror(filter: MirrorFilter, index: number, input: FilterInput): readonly Mirror[] {
  const { split, problem } = input.resolve(filter.backendRef, true);
  const path = [...input.path, "filters", index, "requestMirror", "backendRef"];
  if (problem !== undefined) input.problems.push(problemAt(path, problem));
  const { percent = 100, fraction } = filter;
  const share =
    fraction === undefined ? percent / 100 : fraction.numerator / (fraction.denominator ?? 100);
  return split === undefined || share === 0 ? [] : [{ split, fraction: share }];
}

/** Adds the filter, or says why it cannot be added. */
function addExtension(
  read: Mutable<Filters>,
  reference: NonNullable<HttpFilter["extensionRef"]>,
  { extensionOf, namespace }: FilterInput,
): BackendProblem | undefined {
  const found = extensionOf(namespace, reference);
  if ("problem" in found) return found.problem;
  const { rewrite, directResponse } = found.filters;
  const taken =
    (directResponse !== undefined &&
      (read.directResponse !== undefined || read.redirect !== undefined)) ||
    (rewrite !== undefined && overlap(read.rewrite ?? {}, rewrite));
  if (taken) {
    const message = `HTTPRouteFilter ${reference.name} changes what another filter of its rule changes`;
    return { reason: "UnsupportedValue", message };
  }
  if (directResponse !== undefined) read.directResponse = directResponse;
  if (rewrite !== undefined) read.rewrite = { ...read.rewrite, ...rewrite };
  return undefined;
}

function overlap(a: UrlRewrite, b: UrlRewrite): boolean {
  const { path: _a, ...hostA } = a;
  const { path: _b, ...hostB } = b;
  const hosts = Object.keys(hostA).length > 0 && Object.keys(hostB).length > 0;
  return hosts || (a.path !== undefined && b.path !== undefined);
}

function readHeaders(filter: HeaderFilter): HeaderEdits {
  return {
    ...(filter.set !== undefined && { set: pairs(filter.set) }),
    ...(filter.add !== undefined && { add: pairs(filter.add) }),
    ...(filter.remove !== undefined && {
      remove: filter.remove.map((name) => name.toLowerCase()),
    }),
  };
}

function pairs(
  headers: readonly { readonly name: string; readonly value: string }[],
): readonly (readonly [string, string])[] {
  return headers.map(({ name, value }) => [name, value]);
}

function readRewrite(rewrite: NonNullable<HttpFilter["urlRewrite"]>, prefix: string): UrlRewrite {
  return {
    ...(rewrite.hostname !== undefined && { hostname: rewrite.hostname.toLowerCase() }),
    ...(rewrite.path !== undefined && { path: readPath(rewrite.path, prefix) }),
  };
}

function readRedirect(
  redirect: NonNullable<HttpFilter["requestRedirect"]>,
  prefix: string,
): Redirect {
  return {
    ...(redirect.scheme !== undefined && { scheme: redirect.scheme }),
    ...(redirect.hostname !== undefined && { hostname: redirect.hostname.toLowerCase() }),
    ...(redirect.port !== undefined && { port: redirect.port }),
    ...(redirect.path !== undefined && { path: readPath(redirect.path, prefix) }),
    statusCode: redirect.statusCode ?? 302,
  };
}

function readPath(path: PathModifier, prefix: string): PathEdit {
  if (path.type === "ReplaceFullPath") {
    return { type: "ReplaceFullPath", value: withSlash(path.replaceFullPath ?? "") };
  }
  return { type: "ReplacePrefixMatch", prefix, value: withSlash(path.replacePrefixMatch ?? "") };
}

/** Gateway API lets the slash be left out; a path in a request or a Location must have it. */
function withSlash(path: string): string {
  return path === "" || path.startsWith("/") ? path : `/${path}`;
}
