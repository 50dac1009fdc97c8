/**
 * Stored resources by their types. The schema of a kind has checked a document before it was
 * stored; here that is taken at its word, in one place.
 */
import { isJsonObject } from "../base/json.ts";
import type { JsonObject, JsonValue } from "../base/json.ts";
import type { Challenge } from "../resource/acme.ts";
import type { AIGatewayRoute, AIServiceBackend, BackendSecurityPolicy } from "../resource/ai.ts";
import type { BackendTLSPolicy } from "../resource/backend-tls-policy.ts";
import type { BackendTrafficPolicy } from "../resource/backend-traffic-policy.ts";
import type { Backend } from "../resource/backend.ts";
import type { Certificate } from "../resource/certificate.ts";
import type { ClientTrafficPolicy } from "../resource/client-traffic-policy.ts";
import type { Consumer } from "../resource/consumer.ts";
import type { Secret } from "../resource/core.ts";
import type { Endpoints } from "../resource/endpoints.ts";
import type { EndpointSlice } from "../resource/endpoint-slice.ts";
import type { GatewayClass } from "../resource/gateway-class.ts";
import type { Gateway } from "../resource/gateway.ts";
import type { GRPCRoute } from "../resource/grpc-route.ts";
import type { HTTPRouteFilter } from "../resource/http-route-filter.ts";
import type { HTTPRoute } from "../resource/http-route.ts";
import type { ReferenceGrant } from "../resource/reference-grant.ts";
import type { Resource } from "../resource/resource.ts";
import type { SecurityPolicy } from "../resource/security-policy.ts";
import type { Service } from "../resource/service.ts";
import type { CompileInput } from "./compiled.ts";

export interface StoredKinds {
  readonly AIGatewayRoute: AIGatewayRoute;
  readonly AIServiceBackend: AIServiceBackend;
  readonly Backend: Backend;
  readonly BackendSecurityPolicy: BackendSecurityPolicy;
  readonly BackendTLSPolicy: BackendTLSPolicy;
  readonly BackendTrafficPolicy: BackendTrafficPolicy;
  readonly ClientTrafficPolicy: ClientTrafficPolicy;
  readonly Certificate: Certificate;
  readonly Challenge: Challenge;
  readonly Consumer: Consumer;
  readonly Endpoints: Endpoints;
  readonly EndpointSlice: EndpointSlice;
  readonly Gateway: Gateway;
  readonly GatewayClass: GatewayClass;
  readonly GRPCRoute: GRPCRoute;
  readonly HTTPRoute: HTTPRoute;
  readonly HTTPRouteFilter: HTTPRouteFilter;
  readonly ReferenceGrant: ReferenceGrant;
  readonly Secret: Secret;
  readonly SecurityPolicy: SecurityPolicy;
  readonly Service: Service;
}

/** All resources of a kind. */
export function listOf<Kind extends keyof StoredKinds>(
  input: CompileInput,
  kind: Kind,
): readonly StoredKinds[Kind][] {
  return input.list(kind).filter((resource) => isOfKind(resource, kind));
}

/** Whether a resource is there and of this kind. */
export function isOfKind<Kind extends keyof StoredKinds>(
  resource: Resource | undefined,
  kind: Kind,
): resource is Resource & StoredKinds[Kind] {
  return resource?.kind === kind;
}

/**
 * Whether `spec` can be read as a Backend's. A live one always can; a recorded revision is plain
 * data that anybody with access to the API may have written.
 */
export function isBackendSpec(spec: JsonObject): spec is JsonObject & Backend["spec"] {
  const { endpoints, tls, appProtocols = [] } = spec;
  if (!Array.isArray(appProtocols) || appProtocols.some((one) => typeof one !== "string")) {
    return false;
  }
  if (tls !== undefined && !isTls(tls)) return false;
  return Array.isArray(endpoints) && endpoints.every(isEndpoint);
}

function isTls(tls: JsonValue): boolean {
  if (!isJsonObject(tls)) return false;
  const { sni, caCertificateRefs = [] } = tls;
  if (sni !== undefined && typeof sni !== "string") return false;
  if (!Array.isArray(caCertificateRefs)) return false;
  return caCertificateRefs.every((ref) => isJsonObject(ref) && typeof ref["name"] === "string");
}

function isEndpoint(value: JsonValue): boolean {
  if (!isJsonObject(value)) return false;
  const { ip, fqdn, unix } = value;
  if (isJsonObject(ip)) return typeof ip["address"] === "string" && typeof ip["port"] === "number";
  if (isJsonObject(fqdn)) {
    return typeof fqdn["hostname"] === "string" && typeof fqdn["port"] === "number";
  }
  return isJsonObject(unix) && typeof unix["path"] === "string";
}

/** As `isBackendSpec`, for an AIServiceBackend. */
export function isProviderSpec(spec: JsonObject): spec is JsonObject & AIServiceBackend["spec"] {
  const { schema, backendRef } = spec;
  return (
    isJsonObject(schema) &&
    schema["name"] === "OpenAI" &&
    (schema["prefix"] === undefined || typeof schema["prefix"] === "string") &&
    isJsonObject(backendRef) &&
    typeof backendRef["name"] === "string" &&
    (backendRef["namespace"] === undefined || typeof backendRef["namespace"] === "string")
  );
}
