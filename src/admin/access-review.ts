/**
 * `SelfSubjectAccessReview`, by which `kubectl auth can-i` and client libraries ask what they may
 * do. Who reaches the API on loopback may do everything, so the answer is always yes.
 */
import { isJsonObject } from "../base/json.ts";
import type { JsonObject, JsonValue } from "../base/json.ts";
import { badRequest } from "./api-error.ts";

const API_VERSION = "authorization.k8s.io/v1";
const KIND = "SelfSubjectAccessReview";

/** The review with its verdict. Throws ApiError 400 where `body` is no review. */
export function reviewAccess(body: JsonValue | undefined): JsonObject {
  if (!isJsonObject(body) || !isJsonObject(body["spec"])) {
    throw badRequest(`the body of the request must be a ${KIND} with a spec`);
  }
  const { apiVersion = API_VERSION, kind = KIND, spec } = body;
  if (apiVersion !== API_VERSION || kind !== KIND) {
    throw badRequest(`the body of the request must be a ${KIND} of ${API_VERSION}`);
  }
  return {
    kind: KIND,
    apiVersion: API_VERSION,
    metadata: {},
    spec,
    status: { allowed: true, reason: "the admin API on loopback allows everything" },
  };
}
