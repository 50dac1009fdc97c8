/** The resources of the end-to-end tests: one gateway, one route, one backend under a Rollout. */
import type { ResourceDraft } from "../../src/resource/resource.ts";

export const NAMESPACE = "default";
export const NAME = "checkout";

export function gateway(port: number): ResourceDraft {
  return {
    apiVersion: "gateway.networking.k8s.io/v1",
    kind: "Gateway",
    metadata: { name: "edge", namespace: NAMESPACE },
    spec: {
      gatewayClassName: "sluice",
      addresses: [{ type: "IPAddress", value: "127.0.0.1" }],
      listeners: [{ name: "http", protocol: "HTTP", port }],
    },
  };
}

export function route(rule: object = {}): ResourceDraft {
  return {
    apiVersion: "gateway.networking.k8s.io/v1",
    kind: "HTTPRoute",
    metadata: { name: NAME, namespace: NAMESPACE },
    spec: {
      parentRefs: [{ name: "edge" }],
      rules: [{ backendRefs: [{ group: "sluice.dev", kind: "Backend", name: NAME }], ...rule }],
    },
  };
}

export function backend(version: string, port: number): ResourceDraft {
  return {
    apiVersion: "sluice.dev/v1alpha1",
    kind: "Backend",
    metadata: { name: NAME, namespace: NAMESPACE },
    spec: { version, endpoints: [{ ip: { address: "127.0.0.1", port } }] },
  };
}

/** Success rate of the canary below 95 % in a window of five seconds ends the rollout. */
export function healthy(overrides: object = {}): ResourceDraft {
  return {
    apiVersion: "argoproj.io/v1alpha1",
    kind: "AnalysisTemplate",
    metadata: { name: "healthy", namespace: NAMESPACE },
    spec: {
      metrics: [
        {
          name: "success-rate",
          interval: "1s",
          failureLimit: 0,
          failureCondition: "result < 0.95",
          provider: {
            plugin: {
              sluice: {
                metric: "success-rate",
                arm: "canary",
                window: "5s",
                minSamples: 20,
                noData: "wait",
                ...overrides,
              },
            },
          },
        },
      ],
    },
  };
}

export function rollout(steps: readonly object[], extra: object = {}): ResourceDraft {
  return {
    apiVersion: "argoproj.io/v1alpha1",
    kind: "Rollout",
    metadata: { name: NAME, namespace: NAMESPACE },
    spec: {
      workloadRef: { apiVersion: "sluice.dev/v1alpha1", kind: "Backend", name: NAME },
      strategy: { canary: { analysis: { templates: [{ templateName: "healthy" }] }, steps } },
      ...extra,
    },
  };
}
