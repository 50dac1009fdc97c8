/** What `sluice check` says is wrong between documents: each problem once, with its place in the files. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, describe, test } from "node:test";

const ROOT = path.resolve(import.meta.dirname, "../..");
const MAIN = path.join(ROOT, "src/cli/main.ts");

const SHOP = `apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: { name: edge }
spec:
  gatewayClassName: sluice
  listeners:
    - { name: http, port: 8080, protocol: HTTP }
    - name: https
      port: 8443
      protocol: HTTPS
      tls:
        certificateRefs: [{ name: shop-tls }]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: { name: shop }
spec:
  parentRefs:
    - name: edge
      sectionName: htp
    - name: egde
  rules:
    - backendRefs:
        - name: checkuot
          port: 80
`;

const CANARY = `# A comment and an empty document before it count as lines, too.
---
---
apiVersion: sluice.dev/v1alpha1
kind: Backend
metadata: { name: checkout }
spec:
  version: "1"
  endpoints:
    - ip: { address: 127.0.0.1, port: 9001 }
---
apiVersion: sluice.dev/v1alpha1
kind: BackendTrafficPolicy
metadata: { name: limits }
spec:
  targetRefs:
    - { group: gateway.networking.k8s.io, kind: HTTPRoute, name: shopp }
  rateLimit: { type: Local, local: { rules: [{ limit: { requests: 5, unit: Second } }] } }
---
apiVersion: argoproj.io/v1alpha1
kind: Rollout
metadata: { name: checkout }
spec:
  workloadRef: { apiVersion: sluice.dev/v1alpha1, kind: Backend, name: chekout }
  strategy:
    canary:
      steps:
        - setWeight: 5
        - analysis:
            templates:
              - templateName: success
`;

const ISSUER = `apiVersion: cert-manager.io/v1
kind: Issuer
metadata: { name: ca }
spec:
  acme:
    server: https://ca.example/directory
    privateKeySecretRef: { name: account }
    solvers: [{ http01: {} }]
---
apiVersion: cert-manager.io/v1
kind: Certificate
metadata: { name: all }
spec: { secretName: all, dnsNames: ["*.example.com"], issuerRef: { name: ca } }
`;

const CONDITION = `apiVersion: argoproj.io/v1alpha1
kind: AnalysisTemplate
metadata: { name: success }
spec:
  metrics:
    - name: errors
      interval: 1s
      successCondition: result <
      provider: { plugin: { sluice: { metric: error-rate } } }
`;

const OTHERS = readFileSync(path.join(ROOT, "config/quickstart.yaml"), "utf8").replace(
  "gatewayClassName: sluice",
  "gatewayClassName: nginx",
);

interface Case {
  readonly what: string;
  readonly files: Readonly<Record<string, string>>;
  /** What is printed, after the folder of the files. */
  readonly lines: readonly string[];
  readonly ends: string;
  readonly exit: number;
}

const CASES: readonly Case[] = [
  {
    what: "names of what is not there, in the order of the files",
    files: { "1-shop.yaml": SHOP, "2-canary.yaml": CANARY },
    lines: [
      `1-shop.yaml:12:35: spec.listeners[1].tls.certificateRefs[0].name: Secret default/shop-tls does not exist`,
      `1-shop.yaml:20:20: spec.parentRefs[0].sectionName: Gateway default/edge has no such listener; it has http (8080), https (8443)`,
      `1-shop.yaml:21:13: spec.parentRefs[1].name: Gateway default/egde does not exist; valid: edge`,
      `1-shop.yaml:24:17: spec.rules[0].backendRefs[0].name: Service default/checkuot does not exist`,
      `2-canary.yaml:17:66: spec.targetRefs[0].name: HTTPRoute default/shopp does not exist; did you mean "shop"?`,
      `2-canary.yaml:24:72: spec.workloadRef.name: Backend "chekout" does not exist; did you mean "checkout"?`,
      `2-canary.yaml:31:31: spec.strategy.canary.steps[1].analysis.templates[0].templateName: AnalysisTemplate "success" does not exist`,
    ],
    ends: "5 resources in 2 files: 7 problems",
    exit: 1,
  },
  {
    what: "a certificate that no CA would give",
    files: { "acme.yaml": ISSUER },
    lines: [
      `acme.yaml:13:26: spec.dnsNames: HTTP-01 cannot prove *.example.com, and DNS-01 is not supported by this version; name each host`,
    ],
    ends: "2 resources in 1 file: 1 problem",
    exit: 1,
  },
  {
    what: "a condition that is none",
    files: { "analysis.yaml": CONDITION },
    lines: [
      "analysis.yaml:8:25: spec.metrics[0].successCondition: unexpected end of expression; valid is an expr-lang condition such as result < 0.95",
    ],
    ends: "1 resource in 1 file: 1 problem",
    exit: 1,
  },
  {
    what: "a Gateway that is left to another controller, which is no problem",
    files: { "nginx.yaml": OTHERS },
    lines: [
      `nginx.yaml:11:21: spec.gatewayClassName: "nginx" is no class of Sluice's: the Gateway is not served; valid: sluice, or a GatewayClass that names its controller`,
    ],
    ends: "3 resources in 1 file: no problems",
    exit: 0,
  },
];

describe("sluice check", () => {
  const folder = mkdtempSync(path.join(tmpdir(), "sluice-check-"));
  after(() => rmSync(folder, { recursive: true }));
  for (const [index, { what, files, lines, ends, exit }] of CASES.entries()) {
    test(what, () => {
      const names = Object.entries(files).flatMap(([name, text]) => {
        const file = path.join(folder, `${index}-${name}`);
        writeFileSync(file, text);
        return ["-f", file];
      });
      const result = spawnSync(process.execPath, [MAIN, "check", ...names], { encoding: "utf8" });
      const said = result.stderr.replaceAll(`${folder}/${index}-`, "").trimEnd().split("\n");
      assert.deepEqual(said, lines);
      assert.equal(result.stdout, `${ends}\n`);
      assert.equal(result.status, exit);
    });
  }
});
