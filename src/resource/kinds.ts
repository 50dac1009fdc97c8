/** All kinds of this version, and those which users know and which later versions bring. */
import { CHALLENGE, ORDER } from "./acme.ts";
import { ANALYSIS_RUN, ANALYSIS_TEMPLATE, CLUSTER_ANALYSIS_TEMPLATE } from "./analysis.ts";
import { AI_GATEWAY_ROUTE, AI_SERVICE_BACKEND, BACKEND_SECURITY_POLICY } from "./ai.ts";
import { BACKEND } from "./backend.ts";
import { BACKEND_TLS_POLICY } from "./backend-tls-policy.ts";
import { BACKEND_TRAFFIC_POLICY } from "./backend-traffic-policy.ts";
import { CLIENT_TRAFFIC_POLICY } from "./client-traffic-policy.ts";
import { CERTIFICATE } from "./certificate.ts";
import { CONSUMER } from "./consumer.ts";
import { CONTROLLER_REVISION } from "./controller-revision.ts";
import { CONFIG_MAP, NAMESPACE, SECRET } from "./core.ts";
import { ENDPOINT_SLICE } from "./endpoint-slice.ts";
import { ENDPOINTS } from "./endpoints.ts";
import { EVENT } from "./event.ts";
import { GATEWAY_CLASS_KIND } from "./gateway-class.ts";
import { GATEWAY } from "./gateway.ts";
import { GRPC_ROUTE } from "./grpc-route.ts";
import { HTTP_ROUTE_FILTER } from "./http-route-filter.ts";
import { HTTP_ROUTE } from "./http-route.ts";
import { CLUSTER_ISSUER, ISSUER } from "./issuer.ts";
import type { KindDefinition } from "./kind.ts";
import { REFERENCE_GRANT } from "./reference-grant.ts";
import { ROLLOUT } from "./rollout.ts";
import { SECURITY_POLICY } from "./security-policy.ts";
import { SERVICE } from "./service.ts";

export type { KindDefinition } from "./kind.ts";

export const KINDS: readonly KindDefinition[] = [
  GATEWAY_CLASS_KIND,
  GATEWAY,
  HTTP_ROUTE,
  GRPC_ROUTE,
  REFERENCE_GRANT,
  SERVICE,
  ENDPOINT_SLICE,
  ENDPOINTS,
  BACKEND,
  BACKEND_TLS_POLICY,
  HTTP_ROUTE_FILTER,
  BACKEND_TRAFFIC_POLICY,
  CLIENT_TRAFFIC_POLICY,
  SECURITY_POLICY,
  CONSUMER,
  NAMESPACE,
  SECRET,
  CONFIG_MAP,
  ROLLOUT,
  ANALYSIS_TEMPLATE,
  CLUSTER_ANALYSIS_TEMPLATE,
  ANALYSIS_RUN,
  CONTROLLER_REVISION,
  EVENT,
  AI_SERVICE_BACKEND,
  BACKEND_SECURITY_POLICY,
  AI_GATEWAY_ROUTE,
  ISSUER,
  CLUSTER_ISSUER,
  CERTIFICATE,
  ORDER,
  CHALLENGE,
];

/** Kinds that are refused as not built yet rather than as unknown. */
export const KINDS_TO_COME: readonly string[] = [
  "TLSRoute",
  "TCPRoute",
  "UDPRoute",
  "ListenerSet",
  "XListenerSet",
  "XBackendTrafficPolicy",
  "XMesh",
  "QuotaPolicy",
  "MCPRoute",
  "Prompt",
  "ContextPolicy",
  "Experiment",
  "Application",
  "AppProject",
  "ApplicationSet",
  "Workflow",
  "WorkflowTemplate",
  "ClusterWorkflowTemplate",
  "CronWorkflow",
  "EventSource",
  "Sensor",
  "EventBus",
  "Role",
  "RoleBinding",
  "ClusterRole",
  "ClusterRoleBinding",
];

const byKind = new Map(KINDS.map((definition) => [definition.kind, definition]));
const byApi = new Map(
  KINDS.map((item) => [`${item.group}/${item.version}/${item.plural}`, item] as const),
);

/** The kind of that name, which is unique across groups. */
export function kindOf(kind: string): KindDefinition | undefined {
  return byKind.get(kind);
}

/** The kind behind a URL of the admin API; `version` is the stored one. */
export function kindOfApi(
  group: string,
  version: string,
  plural: string,
): KindDefinition | undefined {
  return byApi.get(`${group}/${version}/${plural}`);
}
