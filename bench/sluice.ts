/** Sluice, as a user starts it: `sluice up` with a file of resources. */
import { writeFileSync } from "node:fs";
import path from "node:path";
import type { Certificate } from "./certificate.ts";
import { freePort, listening, pinned, PROXY_CORE, type Bench, type Runner } from "./machine.ts";
import type { Ports } from "./nginx.ts";

const MAIN = path.resolve(import.meta.dirname, "../src/cli/main.ts");

export interface SluiceOptions {
  readonly name?: string;
  readonly ports: Ports;
  /** The access log in a file; without, `--access-log off`. Metrics and request ids are always on. */
  readonly logs: boolean;
  readonly certificate?: Certificate;
  /** The backends speak HTTP/2. */
  readonly grpc?: boolean;
  /** The path that is routed; everything by default. */
  readonly prefix?: string;
  readonly workers?: number;
  readonly cores?: string;
  readonly env?: Readonly<Record<string, string>>;
}

export interface SluiceRunner extends Runner {
  readonly adminPort: number;
  /** The file of resources, which is followed. */
  readonly file: string;
}

export async function startSluice(bench: Bench, options: SluiceOptions): Promise<SluiceRunner> {
  const { name = "sluice", logs, workers = 1, cores = PROXY_CORE } = options;
  const [port, adminPort] = [await freePort(), await freePort()];
  const home = bench.folder(name);
  const file = path.join(home, "sluice.yaml");
  writeFileSync(file, resources(port, options));
  const log = logs ? path.join(home, "access.log") : "off";
  const child = bench.start(
    pinned(
      cores,
      [
        process.execPath,
        MAIN,
        ...`up -f ${file} --data ${home}/data --admin 127.0.0.1:${adminPort}`.split(" "),
        ...`--workers ${workers} --access-log ${log}`.split(" "),
      ],
      options.env === undefined ? {} : { env: options.env },
    ),
  );
  await listening(adminPort);
  return { name, process: child, port, adminPort, file };
}

/** One Gateway, one HTTPRoute for everything, two backends at 90 and 10. */
function resources(port: number, options: SluiceOptions): string {
  const { ports, certificate, grpc = false, prefix = "/" } = options;
  const reference = grpc ? "{kind: Service, port: 80, " : "{group: sluice.dev, kind: Backend, ";
  const target = grpc ? service : backend;
  const documents = [
    gateway(port, certificate),
    `apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: api}
spec:
  parentRefs: [{name: edge}]
  rules:
  - matches: [{path: {type: PathPrefix, value: ${prefix}}}]
    backendRefs:
    - ${reference}name: stable, weight: 90}
    - ${reference}name: canary, weight: 10}
`,
    target("stable", ports.stable),
    target("canary", ports.canary),
  ];
  if (certificate !== undefined) documents.push(secret(certificate));
  return documents.join("---\n");
}

export function gateway(port: number, certificate?: Certificate): string {
  const listener =
    certificate === undefined
      ? `{name: http, protocol: HTTP, port: ${port}}`
      : `{name: https, protocol: HTTPS, port: ${port}, tls: {certificateRefs: [{name: edge}]}}`;
  return `apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge}
spec:
  gatewayClassName: sluice
  listeners: [${listener}]
`;
}

export function backend(name: string, to: number): string {
  return `apiVersion: sluice.dev/v1alpha1
kind: Backend
metadata: {name: ${name}}
spec:
  endpoints: [{ip: {address: 127.0.0.1, port: ${to}}}]
`;
}

/** A backend that speaks HTTP/2 without TLS. */
function service(name: string, to: number): string {
  return `apiVersion: v1
kind: Service
metadata: {name: ${name}}
spec:
  ports: [{name: grpc, port: 80, appProtocol: kubernetes.io/h2c}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: ${name}, labels: {kubernetes.io/service-name: ${name}}}
addressType: IPv4
ports: [{name: grpc, port: ${to}, appProtocol: kubernetes.io/h2c}]
endpoints: [{addresses: [127.0.0.1]}]
`;
}

function secret({ certificate, key }: Certificate): string {
  const encode = (text: string): string => Buffer.from(text).toString("base64");
  return `apiVersion: v1
kind: Secret
metadata: {name: edge}
type: kubernetes.io/tls
data:
  tls.crt: ${encode(certificate)}
  tls.key: ${encode(key)}
`;
}
