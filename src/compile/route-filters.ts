/**
 * HTTPRouteFilters, which routes name by `extensionRef`. They are read before routes are, with the
 * ConfigMaps that hold their bodies.
 */
import { DIRECT_BODY_BYTES_MAX } from "../resource/http-route-filter.ts";
import type { HTTPRouteFilter } from "../resource/http-route-filter.ts";
import { keyText } from "../resource/resource.ts";
import type { ResourceKey } from "../resource/resource.ts";
import type { BackendProblem, CompileInput } from "./compiled.ts";
import type { Filters, PathEdit, UrlRewrite } from "./program.ts";
import type { DirectResponse } from "./rule-part.ts";
import { isOfKind } from "./stored.ts";

export type ExtensionFilters = Pick<Filters, "rewrite" | "directResponse">;

export type ExtensionResult =
  | { readonly filters: ExtensionFilters }
  | { readonly problem: BackendProblem };

/** What a route's `extensionRef` comes to. */
export type ExtensionOf = (
  namespace: string,
  reference: { readonly group: string; readonly kind: string; readonly name: string },
) => ExtensionResult;

export interface RouteFilters {
  readonly extensionOf: ExtensionOf;
  /** ConfigMaps that a filter takes its body from, by `keyText`. */
  readonly bodies: ReadonlySet<string>;
}

export function readRouteFilters(input: CompileInput): RouteFilters {
  const results = new Map<string, ExtensionResult>();
  const bodies = new Set<string>();
  for (const filter of input.list("HTTPRouteFilter")) {
    if (!isOfKind(filter, "HTTPRouteFilter")) continue;
    const { namespace, name } = filter.metadata;
    results.set(`${namespace}/${name}`, readFilter(input, filter, bodies));
  }
  return {
    bodies,
    extensionOf(namespace, { group, kind, name }) {
      if (group !== "sluice.dev" || kind !== "HTTPRouteFilter") {
        const message = `${group}/${kind} is not a filter; valid: sluice.dev/HTTPRouteFilter`;
        return { problem: { reason: "InvalidKind", message, field: "kind" } };
      }
      const known = results.get(`${namespace}/${name}`);
      if (known !== undefined) return known;
      const message = `HTTPRouteFilter ${namespace}/${name} does not exist`;
      const missing = { kind, namespace, name };
      return { problem: { reason: "FilterNotFound", message, missing } };
    },
  };
}

function readFilter(
  input: CompileInput,
  { metadata, spec }: HTTPRouteFilter,
  bodies: Set<string>,
): ExtensionResult {
  const { directResponse, urlRewrite } = spec;
  if (directResponse === undefined) {
    return { filters: urlRewrite === undefined ? {} : { rewrite: readRewrite(urlRewrite) } };
  }
  const body = readBody(input, metadata, { source: directResponse.body, bodies });
  if (typeof body === "object") return body;
  const { contentType, statusCode } = directResponse;
  const direct: DirectResponse = {
    statusCode: statusCode ?? 200,
    ...(contentType !== undefined && { contentType }),
    ...(body !== undefined && { body }),
  };
  return { filters: { directResponse: direct } };
}

function readRewrite({
  hostname,
  path,
}: NonNullable<HTTPRouteFilter["spec"]["urlRewrite"]>): UrlRewrite {
  const edit: PathEdit | undefined = path && {
    type: "ReplaceRegexMatch",
    pattern: path.replaceRegexMatch.pattern,
    value: path.replaceRegexMatch.substitution,
  };
  return {
    ...(hostname?.header !== undefined && { hostnameHeader: hostname.header.toLowerCase() }),
    ...(edit !== undefined && { path: edit }),
  };
}

interface BodyInput {
  readonly source: NonNullable<HTTPRouteFilter["spec"]["directResponse"]>["body"];
  readonly bodies: Set<string>;
}

function readBody(
  input: CompileInput,
  { namespace, name }: { readonly namespace: string; readonly name: string },
  { source, bodies }: BodyInput,
): string | undefined | { readonly problem: BackendProblem } {
  if (source?.valueRef === undefined) return source?.inline;
  const key: ResourceKey = { kind: "ConfigMap", namespace, name: source.valueRef.name };
  bodies.add(keyText(key));
  const at = {
    resource: { kind: "HTTPRouteFilter", namespace, name },
    path: ["spec", "directResponse", "body", "valueRef", "name"],
  };
  const what = `ConfigMap ${namespace}/${key.name}, named by directResponse.body.valueRef,`;
  const holder = input.get(key.kind, key.namespace, key.name);
  if (holder === undefined) {
    const message = `${what} does not exist`;
    return { problem: { reason: "BackendNotFound", message, missing: key, at } };
  }
  const data = (holder["data"] ?? {}) as Readonly<Record<string, string>>;
  const body = data["response.body"] ?? data[Object.keys(data).toSorted()[0] ?? ""];
  if (body === undefined) {
    return { problem: { reason: "UnsupportedValue", message: `${what} has no data`, at } };
  }
  if (Buffer.byteLength(body) > DIRECT_BODY_BYTES_MAX) {
    const message = `${what} has a body of more than ${DIRECT_BODY_BYTES_MAX} bytes`;
    return { problem: { reason: "UnsupportedValue", message, at } };
  }
  return body;
}
