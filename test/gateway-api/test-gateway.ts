/**
 * A gateway for the conformance tests, all in this process: documents are parsed, compiled, linked
 * and served on real sockets. Each Gateway has an address of its own in 127.0.0.0/8, and each port
 * of the manifests is a free high port.
 */
import assert from "node:assert/strict";
import { createServer } from "node:net";
import type { AddressInfo } from "node:net";
import { systemClock } from "../../src/base/clock.ts";
import { isJsonObject } from "../../src/base/json.ts";
import type { JsonObject } from "../../src/base/json.ts";
import { systemRandom } from "../../src/base/random.ts";
import { compile } from "../../src/compile/compile.ts";
import type { Compiled } from "../../src/compile/compiled.ts";
import { contentHash } from "../../src/base/hash.ts";
import type { PartEnvelope } from "../../src/process/messages.ts";
import { NO_ACCESS_LOG } from "../../src/proxy/access-log.ts";
import { Linker } from "../../src/proxy/link.ts";
import { DataPlane } from "../../src/proxy/server.ts";
import type { ResourceDraft } from "../../src/resource/resource.ts";
import { Gates } from "../../src/shared/gates.ts";
import { Limits } from "../../src/shared/limits.ts";
import { allocateSharedMemory } from "../../src/shared/memory.ts";
import { MetricRecorder } from "../../src/shared/metrics.ts";
import { parseDrafts, ResourceSet } from "../compile/resource-set.ts";
import { SERVED } from "../support/certificates.ts";
import { startEcho } from "./echo.ts";
import type { EchoServer } from "./echo.ts";

/** The certificate that the manifests' HTTPS listeners name; the clients take it as it is. */
const CERTIFICATE: ResourceDraft = {
  apiVersion: "v1",
  kind: "Secret",
  metadata: { name: "tls-validity-checks-certificate", namespace: "gateway-conformance-infra" },
  type: "kubernetes.io/tls",
  data: {
    "tls.crt": Buffer.from(SERVED[0]?.certificate ?? "").toString("base64"),
    "tls.key": Buffer.from(SERVED[0]?.privateKey ?? "").toString("base64"),
  },
};

const PATIENCE_MS = 10_000;
const POLL_MS = 5;

export class TestGateway {
  readonly #resources = new ResourceSet();
  readonly #echoes: EchoServer[] = [];
  readonly #addresses = new Map<string, string>();
  /** Port of the manifests → port that is listened on. */
  readonly #ports = new Map<number, number>();
  readonly #requests = new Map<string, string[]>();
  readonly #linker: Linker;
  readonly #plane: DataPlane;
  #compiled: Compiled;
  #generation = 0;

  private constructor() {
    const memory = allocateSharedMemory(1);
    const metrics = new MetricRecorder(memory.metrics, 0);
    const gates = new Gates(memory.gates);
    const limits = new Limits(memory.limits);
    this.#linker = new Linker({ metrics, gates, limitSeed: limits.seed });
    this.#plane = new DataPlane({
      metrics,
      gates,
      limits,
      accessLog: NO_ACCESS_LOG,
      random: systemRandom,
      clock: systemClock,
    });
    this.#compiled = compile(this.#resources);
  }

  static async start(manifests: readonly string[]): Promise<TestGateway> {
    const gateway = new TestGateway();
    gateway.#resources.apply(CERTIFICATE);
    for (const draft of manifests.flatMap((text) => parseDrafts(text))) await gateway.#apply(draft);
    await gateway.#serve();
    return gateway;
  }

  get compiled(): Compiled {
    return this.#compiled;
  }

  /** Where a listener of a Gateway is reached; `port` is that of the manifest. */
  addressOf(gateway: string, port: number): { readonly host: string; readonly port: number } {
    const host = this.#addresses.get(gateway);
    const mapped = this.#ports.get(port);
    assert.ok(host !== undefined && mapped !== undefined, `no listener ${gateway}:${port}`);
    return { host, port: mapped };
  }

  /** The port of the manifests behind a port that is listened on; any other port is itself. */
  manifestPort(port: string): string {
    const found = [...this.#ports].find(([, mapped]) => String(mapped) === port);
    return found === undefined ? port : String(found[0]);
  }

  async remove(kind: string, namespace: string, name: string): Promise<void> {
    this.#resources.remove(kind, namespace, name);
    await this.#serve();
  }

  /** Paths of the requests that a Service has got, oldest first. */
  requestsOf({ namespace, backend }: { readonly namespace: string; readonly backend: string }) {
    return this.#requests.get(`${namespace}/${backend}`) ?? [];
  }

  /** Resolves when it holds, and fails when it does not for seconds. */
  async until(holds: () => boolean): Promise<void> {
    const stop = systemClock.now() + PATIENCE_MS;
    while (!holds()) {
      assert.ok(systemClock.now() < stop, "it did not come about in time");
      await new Promise<void>((resolve) => {
        systemClock.after(POLL_MS, resolve);
      });
    }
  }

  async close(): Promise<void> {
    for (const echo of this.#echoes) echo.close();
    await this.#plane.drain(0);
  }

  async #apply(draft: ResourceDraft): Promise<void> {
    const spec = isJsonObject(draft["spec"]) ? draft["spec"] : {};
    if (draft.kind === "Gateway") {
      this.#resources.apply({ ...draft, spec: await this.#placeGateway(draft, spec) });
    } else if (draft.kind === "HTTPRoute" || draft.kind === "GRPCRoute") {
      this.#resources.apply({ ...draft, spec: await this.#mapParentPorts(spec) });
    } else if (draft.kind === "EndpointSlice" || draft.kind === "Endpoints") {
      this.#resources.apply(await this.#placeEndpoints(draft));
    } else {
      this.#resources.apply(draft);
    }
    // As in a cluster: who names no Pods writes the endpoints himself.
    if (draft.kind === "Service" && spec["selector"] !== undefined) {
      await this.#startBackend(draft, spec);
    }
  }

  async #placeGateway(draft: ResourceDraft, spec: JsonObject): Promise<JsonObject> {
    const { name } = draft.metadata;
    const place = this.#addresses.size + 1;
    const address = this.#addresses.get(name) ?? `127.${(process.pid % 199) + 50}.0.${place}`;
    this.#addresses.set(name, address);
    const listeners = [];
    for (const listener of objects(spec["listeners"])) {
      listeners.push({ ...listener, port: await this.#mapPort(Number(listener["port"])) });
    }
    return { ...spec, addresses: [{ type: "IPAddress", value: address }], listeners };
  }

  async #mapParentPorts(spec: JsonObject): Promise<JsonObject> {
    const parentRefs = [];
    for (const parent of objects(spec["parentRefs"])) {
      const { port } = parent;
      parentRefs.push(
        typeof port === "number" ? { ...parent, port: await this.#mapPort(port) } : parent,
      );
    }
    return { ...spec, parentRefs };
  }

  async #mapPort(port: number): Promise<number> {
    const mapped = this.#ports.get(port) ?? (await freePort());
    this.#ports.set(port, mapped);
    return mapped;
  }

  /** Endpoints that a manifest lists: the ports are those of a server that is started for them. */
  async #placeEndpoints(draft: ResourceDraft): Promise<ResourceDraft> {
    const { namespace, name, labels } = draft.metadata;
    const service = labels?.["kubernetes.io/service-name"] ?? name;
    const requests: string[] = [];
    this.#requests.set(`${namespace}/${service}`, requests);
    const onRequest = (path: string) => requests.push(path);
    const echo = await startEcho({ namespace, service, http2: false, onRequest });
    this.#echoes.push(echo);
    const place = (ports: unknown) => objects(ports).map((port) => ({ ...port, port: echo.port }));
    if (draft.kind === "EndpointSlice") return { ...draft, ports: place(draft["ports"]) };
    const subsets = objects(draft["subsets"]);
    return { ...draft, subsets: subsets.map((one) => ({ ...one, ports: place(one["ports"]) })) };
  }

  /** A server for each protocol of a Service's ports, and the EndpointSlice of a cluster. */
  async #startBackend(draft: ResourceDraft, spec: JsonObject): Promise<void> {
    const { namespace, name } = draft.metadata;
    const requests: string[] = [];
    this.#requests.set(`${namespace}/${name}`, requests);
    const started = new Map<boolean, EchoServer>();
    const ports: JsonObject[] = [];
    for (const port of objects(spec["ports"])) {
      const http2 = port["appProtocol"] === "kubernetes.io/h2c";
      const onRequest = (path: string) => requests.push(path);
      const echo =
        started.get(http2) ?? (await startEcho({ namespace, service: name, http2, onRequest }));
      started.set(http2, echo);
      ports.push({ name: port["name"] ?? "", port: echo.port });
    }
    this.#echoes.push(...started.values());
    this.#resources.apply({
      apiVersion: "discovery.k8s.io/v1",
      kind: "EndpointSlice",
      metadata: { name, namespace, labels: { "kubernetes.io/service-name": name } },
      addressType: "IPv4",
      endpoints: [{ addresses: ["127.0.0.1"], conditions: { ready: true } }],
      ports,
    });
  }

  async #serve(): Promise<void> {
    const before = this.#compiled;
    this.#compiled = compile(this.#resources, before);
    const parts = new Map<string, PartEnvelope | null>();
    for (const key of before.parts.keys()) parts.set(key, null);
    for (const [key, part] of this.#compiled.parts) {
      parts.set(key, { part, hash: contentHash(part) });
    }
    const generation = ++this.#generation;
    const steps = this.#linker.prepare({
      generation,
      parts,
      credentials: this.#compiled.credentials,
    });
    let step = steps.next();
    while (step.done !== true) step = steps.next();
    const failures = await this.#plane.apply(this.#linker.commit(step.value));
    assert.deepEqual([...failures, ...this.#linker.failures], []);
  }
}

function objects(value: unknown): readonly JsonObject[] {
  return Array.isArray(value) ? value.filter(isJsonObject) : [];
}

/** A port that nobody listens on, on any address. */
function freePort(): Promise<number> {
  return new Promise((resolve) => {
    const server = createServer();
    server.listen(0, "::", () => {
      const { port } = server.address() as AddressInfo;
      server.close(() => resolve(port));
    });
  });
}
