/**
 * From a request to its handler: resources by the table of kinds, and the few fixed paths of the
 * API beside them. The order of the checks is that of Kubernetes: first whether the path exists,
 * then whether the method does.
 */
import type { IncomingMessage, ServerResponse } from "node:http";
import type { JsonObject } from "../base/json.ts";
import type { KindDefinition } from "../resource/kind.ts";
import { KINDS } from "../resource/kinds.ts";
import { viewOf } from "./accept.ts";
import { reviewAccess } from "./access-review.ts";
import { badRequest, methodNotAllowed, noSuchPath } from "./api-error.ts";
import { parseResourcePath, pathSegments } from "./api-path.ts";
import type { ResourcePath } from "./api-path.ts";
import { deleteCollection, deleteResource } from "./delete.ts";
import type { Discovery } from "./discovery.ts";
import { getResource, listResources, watchResources } from "./read.ts";
import type { RowObject } from "./represent.ts";
import { readDocument } from "./request-body.ts";
import type { Answer, Api, Target } from "./target.ts";
import { isTrue } from "./watch.ts";
import { createResource, patchResource, updateResource } from "./write.ts";

/** What is the same for every request on the API. */
export interface ApiRoutes {
  readonly api: Api;
  readonly discovery: Discovery;
  /** `GET /version`. */
  readonly version: JsonObject;
}

export interface Exchange {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly url: URL;
}

/**
 * The answer to a request under /api, /apis and /version; undefined where the handler writes the
 * answer itself (a watch). Throws ApiError.
 */
export async function answerApi(
  routes: ApiRoutes,
  exchange: Exchange,
): Promise<Answer | undefined> {
  const segments = pathSegments(exchange.url.pathname);
  if (segments === undefined) throw noSuchPath();
  const described = describe(routes, segments);
  if (described !== undefined) {
    if (exchange.request.method !== "GET") throw methodNotAllowed(exchange.request.method ?? "");
    return { code: 200, body: described, warnings: [] };
  }
  if (segments.join("/") === "apis/authorization.k8s.io/v1/selfsubjectaccessreviews") {
    if (exchange.request.method !== "POST") throw methodNotAllowed(exchange.request.method ?? "");
    return { code: 201, body: reviewAccess(await readDocument(exchange.request)), warnings: [] };
  }
  const path = parseResourcePath(segments);
  if (path === undefined) throw noSuchPath();
  const target = targetOf(routes.api, path, exchange);
  return path.name === undefined
    ? answerCollection(routes.api, target, exchange)
    : answerResource(routes.api, target, exchange);
}

/** Discovery, which needs nothing but the path. */
function describe(routes: ApiRoutes, segments: readonly string[]): JsonObject | undefined {
  const { discovery } = routes;
  const [root, group, version, ...rest] = segments;
  if (rest.length > 0) return undefined;
  if (root === "version") return group === undefined ? routes.version : undefined;
  if (root === "api") {
    if (group === undefined) return discovery.core;
    return version === undefined ? discovery.resources.get(group) : undefined;
  }
  if (root !== "apis") return undefined;
  if (group === undefined) return discovery.groups;
  if (version === undefined) return discovery.group.get(group);
  return discovery.resources.get(`${group}/${version}`);
}

function targetOf(api: Api, path: ResourcePath, { request, url }: Exchange): Target {
  const kind = KINDS.find((served) => isServedAt(served, path));
  if (kind === undefined) throw noSuchPath();
  const { subresource, namespace, name } = path;
  if (namespace !== undefined && !kind.namespaced) throw noSuchPath();
  if (namespace === undefined && kind.namespaced && name !== undefined) throw noSuchPath();
  if (subresource !== undefined && !(subresource === "status" && kind.statusSubresource)) {
    throw noSuchPath();
  }
  const view = viewOf(request.headers.accept);
  const rowObject = rowObjectOf(url.searchParams);
  const nowMs = api.clock.now();
  const presentation = { kind, version: path.version, view, rowObject, nowMs };
  return { path, kind, query: url.searchParams, presentation };
}

/** Older versions of a kind are served as well: the same resource under another apiVersion. */
function isServedAt(kind: KindDefinition, path: ResourcePath): boolean {
  if (kind.group !== path.group || kind.plural !== path.plural) return false;
  return kind.version === path.version || kind.olderVersions.includes(path.version);
}

function rowObjectOf(query: URLSearchParams): RowObject {
  const text = query.get("includeObject") ?? "";
  if (text === "" || text === "Metadata") return "Metadata";
  if (text === "None" || text === "Object") return text;
  throw badRequest("includeObject must be None, Metadata or Object");
}

async function answerCollection(
  api: Api,
  target: Target,
  { request, response }: Exchange,
): Promise<Answer | undefined> {
  const method = request.method ?? "";
  // Over all namespaces at once one may look, not write.
  const writable = !target.kind.namespaced || target.path.namespace !== undefined;
  switch (method) {
    case "GET":
      if (!isTrue(target.query.get("watch"))) return listResources(api, target);
      watchResources(api, target, response);
      return undefined;
    case "POST":
      if (writable) return createResource(api, target, request);
      break;
    case "DELETE":
      if (writable) return deleteCollection(api, target, request);
      break;
  }
  throw methodNotAllowed(method);
}

async function answerResource(api: Api, target: Target, { request }: Exchange): Promise<Answer> {
  const method = request.method ?? "";
  switch (method) {
    case "GET":
      return getResource(api, target);
    case "PUT":
      return updateResource(api, target, request);
    case "PATCH":
      return patchResource(api, target, request);
    case "DELETE":
      if (target.path.subresource === undefined) return deleteResource(api, target, request);
      break;
  }
  throw methodNotAllowed(method);
}
