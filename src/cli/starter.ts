/**
 * The resources of a first rollout, as plain data: one gateway, one route, one service under a Rollout
 * with its analysis. `sluice proxy` prints and serves them, the demo tells a story with them.
 */
import type { UNIX_SOCKET } from "../resource/gateway.ts";
import type { ResourceDraft } from "../resource/resource.ts";

const NAMESPACE = "default";
const GATEWAY = "edge";

export interface StarterAddress {
  readonly type: "IPAddress" | typeof UNIX_SOCKET;
  readonly value: string;
}

export function starterGateway(port: number, address?: StarterAddress): ResourceDraft {
  return {
    apiVersion: "gateway.networking.k8s.io/v1",
    kind: "Gateway",
    metadata: { name: GATEWAY, namespace: NAMESPACE },
    spec: {
      gatewayClassName: "sluice",
      ...(address === undefined ? {} : { addresses: [address] }),
      listeners: [{ name: "http", protocol: "HTTP", port }],
    },
  };
}

/** Everything that comes in goes to the Backend `name`. */
export function starterRoute(name: string): ResourceDraft {
  return {
    apiVersion: "gateway.networking.k8s.io/v1",
    kind: "HTTPRoute",
    metadata: { name, namespace: NAMESPACE },
    spec: {
      parentRefs: [{ name: GATEWAY }],
      rules: [{ backendRefs: [{ group: "sluice.dev", kind: "Backend", name }] }],
    },
  };
}

/** `endpoint` is one entry of a Backend's `spec.endpoints`. */
export function starterBackend(name: string, version: string, endpoint: object): ResourceDraft {
  return {
    apiVersion: "sluice.dev/v1alpha1",
    kind: "Backend",
    metadata: { name, namespace: NAMESPACE },
    spec: { version, endpoints: [endpoint] },
  };
}

/** The canary's success rate, as in policies/success-rate.yaml. */
export function starterAnalysis(): ResourceDraft {
  const sluice = {
    metric: "success-rate",
    arm: "canary",
    window: "5s",
    minSamples: 20,
    noData: "wait",
  };
  return {
    apiVersion: "argoproj.io/v1alpha1",
    kind: "AnalysisTemplate",
    metadata: { name: "success-rate", namespace: NAMESPACE },
    spec: {
      metrics: [
        {
          name: "success-rate",
          interval: "1s",
          failureLimit: 0,
          failureCondition: "result < 0.95",
          provider: { plugin: { sluice } },
        },
      ],
    },
  };
}

/** Gives a new version of the Backend `name` these percents of the requests, `pause` long each. */
export function starterRollout(
  name: string,
  weights: readonly number[],
  pause: string,
): ResourceDraft {
  return {
    apiVersion: "argoproj.io/v1alpha1",
    kind: "Rollout",
    metadata: { name, namespace: NAMESPACE },
    spec: {
      workloadRef: { apiVersion: "sluice.dev/v1alpha1", kind: "Backend", name },
      strategy: {
        canary: {
          analysis: { templates: [{ templateName: "success-rate" }] },
          steps: weights.flatMap((setWeight) => [{ setWeight }, { pause: { duration: pause } }]),
        },
      },
    },
  };
}
