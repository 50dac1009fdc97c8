/** Filters of HTTPRoute (Gateway API `HTTPRouteFilter`), in the form that workers apply. */
import type { HeaderFilter, HttpFilter } from "../resource/http-filter.ts";
import type { Filters, HeaderEdits, PathEdit, Redirect, UrlRewrite } from "./program.ts";

type Mutable<T> = { -readonly [Key in keyof T]: T[Key] };
type PathModifier = NonNullable<NonNullable<HttpFilter["urlRewrite"]>["path"]>;

/** `prefix` is the path that the rule matched, which ReplacePrefixMatch replaces. */
export function readFilters(filters: readonly HttpFilter[] | undefined, prefix: string): Filters {
  const read: Mutable<Filters> = {};
  for (const filter of filters ?? []) {
    if (filter.requestHeaderModifier !== undefined) {
      read.requestHeaders = readHeaders(filter.requestHeaderModifier);
    }
    if (filter.responseHeaderModifier !== undefined) {
      read.responseHeaders = readHeaders(filter.responseHeaderModifier);
    }
    if (filter.urlRewrite !== undefined) read.rewrite = readRewrite(filter.urlRewrite, prefix);
    if (filter.requestRedirect !== undefined) {
      read.redirect = readRedirect(filter.requestRedirect, prefix);
    }
  }
  return read;
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
