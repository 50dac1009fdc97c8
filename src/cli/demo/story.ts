/** The demo's resources: one gateway, one route, one service under a Rollout, and its three versions. */
import type { ResourceDraft } from "../../resource/resource.ts";

const NAMESPACE = "default";
const NAME = "checkout";

/** The service at one version; applying the next version is all that starts a rollout. */
export function checkoutBackend(version: string, port: number): ResourceDraft {
  return {
    apiVersion: "sluice.dev/v1alpha1",
    kind: "Backend",
    metadata: { name: NAME, namespace: NAMESPACE },
    spec: { version, endpoints: [{ ip: { address: "127.0.0.1", port } }] },
  };
}

/** Everything but the Backend. */
export function checkoutResources(gatewayPort: number): readonly ResourceDraft[] {
  return [
    {
      apiVersion: "gateway.networking.k8s.io/v1",
      kind: "Gateway",
      metadata: { name: "edge", namespace: NAMESPACE },
      spec: {
        gatewayClassName: "sluice",
        listeners: [{ name: "http", protocol: "HTTP", port: gatewayPort }],
      },
    },
    {
      apiVersion: "gateway.networking.k8s.io/v1",
      kind: "HTTPRoute",
      metadata: { name: NAME, namespace: NAMESPACE },
      spec: {
        parentRefs: [{ name: "edge" }],
        rules: [{ backendRefs: [{ group: "sluice.dev", kind: "Backend", name: NAME }] }],
      },
    },
    {
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
                },
              },
            },
          },
        ],
      },
    },
    {
      apiVersion: "argoproj.io/v1alpha1",
      kind: "Rollout",
      metadata: { name: NAME, namespace: NAMESPACE },
      spec: {
        workloadRef: { apiVersion: "sluice.dev/v1alpha1", kind: "Backend", name: NAME },
        strategy: {
          canary: {
            analysis: { templates: [{ templateName: "healthy" }] },
            steps: [
              { setWeight: 5 },
              { pause: { duration: "5s" } },
              { setWeight: 25 },
              { pause: { duration: "5s" } },
              { setWeight: 50 },
              { pause: { duration: "5s" } },
            ],
          },
        },
      },
    },
  ];
}
