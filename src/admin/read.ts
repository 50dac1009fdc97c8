/** Reading: one resource, a list with selectors and pages, or a watch. */
import type { ServerResponse } from "node:http";
import { apiVersionOf } from "../resource/kind.ts";
import { badRequest } from "./api-error.ts";
import { presentList, presentOne } from "./represent.ts";
import { parseSelectors } from "./selector.ts";
import { getTarget } from "./target.ts";
import type { Answer, Api, Target } from "./target.ts";
import { futureVersion, parseVersion } from "./watch.ts";

/** `GET …/NAME`. */
export function getResource(api: Api, target: Target): Answer {
  const resource = getTarget(api, target);
  return { code: 200, body: presentOne(resource, target.presentation), warnings: [] };
}

/** `GET …/PLURAL` with selectors, limit and continue. Throws ApiError 400 and 410. */
export function listResources(api: Api, target: Target): Answer {
  const { kind, path, query, presentation } = target;
  const selector = parseSelectors(query, kind.kind);
  checkVersion(api, query);
  const question = [
    apiVersionOf(kind.group, kind.version),
    kind.plural,
    path.namespace ?? "*",
    query.get("labelSelector") ?? "",
    query.get("fieldSelector") ?? "",
  ].join("\n");
  const request = { question, limit: limitOf(query), token: query.get("continue") ?? "" };
  const { resources, resourceVersion, ...rest } = api.snapshots.page(request, () => ({
    resources: api.store.list(kind.kind, path.namespace).filter(selector),
    resourceVersion: api.store.resourceVersion,
  }));
  const listMeta = { resourceVersion: String(resourceVersion), ...rest };
  return { code: 200, body: presentList(resources, presentation, listMeta), warnings: [] };
}

/** `GET …/PLURAL?watch=1`; writes the answer itself. Throws ApiError before anything is sent. */
export function watchResources(api: Api, target: Target, response: ServerResponse): void {
  const { kind, path, query, presentation } = target;
  const selector = parseSelectors(query, kind.kind);
  api.watches.start({ presentation, namespace: path.namespace, selector, query }, response);
}

/** A list is always of now, which satisfies every version but one that is yet to come. */
function checkVersion(api: Api, query: URLSearchParams): void {
  const text = query.get("resourceVersion") ?? "";
  if (text === "" || text === "0") return;
  const asked = parseVersion(text);
  const current = api.store.resourceVersion;
  if (asked > current) throw futureVersion(asked, current);
  if (query.get("resourceVersionMatch") === "Exact" && asked !== current) {
    throw badRequest(
      "resourceVersionMatch: Exact is supported for the newest resourceVersion only",
    );
  }
}

function limitOf(query: URLSearchParams): number {
  const text = query.get("limit") ?? "";
  if (text === "") return 0;
  if (!/^\d{1,9}$/.test(text)) throw badRequest("limit must be a number that is not negative");
  return Number(text);
}
