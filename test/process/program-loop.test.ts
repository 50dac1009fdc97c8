/** The loop from resources to traffic writes every status in the end, whoever writes meanwhile. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer, type AddressInfo } from "node:net";
import { test } from "node:test";
import { MessageChannel } from "node:worker_threads";
import { type Clock, systemClock } from "../../src/base/clock.ts";
import type { JsonObject } from "../../src/base/json.ts";
import { seededRandom } from "../../src/base/random.ts";
import { createDelivery, type Delivery, type Publishable } from "../../src/delivery/delivery.ts";
import { ProgramLoop } from "../../src/process/program-loop.ts";
import { NO_ACCESS_LOG } from "../../src/proxy/access-log.ts";
import { Linker } from "../../src/proxy/link.ts";
import { Receiver } from "../../src/proxy/receiver.ts";
import { DataPlane } from "../../src/proxy/server.ts";
import type { Condition, Resource, ResourceDraft } from "../../src/resource/resource.ts";
import { Gates } from "../../src/shared/gates.ts";
import { Limits } from "../../src/shared/limits.ts";
import { allocateSharedMemory } from "../../src/shared/memory.ts";
import { MetricReader, MetricRecorder } from "../../src/shared/metrics.ts";
import { openSqliteStore } from "../../src/store/sqlite.ts";
import { StoreError, type Store } from "../../src/store/store.ts";
import { settle, VirtualClock } from "../support/clock.ts";
import * as shop from "../support/shop.ts";
import { closedPort, eventually } from "../support/upstream.ts";

/** A delivery whose workers have these sockets and acknowledge when they are told to. */
function fakeDelivery(isHeld: (key: string) => boolean) {
  let acknowledge = (): void => undefined;
  const failures = new Map<string, string>();
  let published = "";
  const delivery = {
    generation: 0,
    acknowledgedGeneration: 0,
    readyCount: 1,
    isHeld,
    failures: () => new Map(failures),
    publish: ({ parts }: Publishable) => {
      const before = published;
      published = JSON.stringify([...parts.values()].toSorted((a, b) => (a.key < b.key ? -1 : 1)));
      if (published !== before) delivery.generation++;
      return delivery.generation;
    },
    onAcknowledged: (listener: () => void) => {
      acknowledge = () => {
        delivery.acknowledgedGeneration = delivery.generation;
        listener();
      };
      return () => undefined;
    },
  };
  return { delivery: delivery as unknown as Delivery, failures, acknowledge: () => acknowledge() };
}

async function world(
  wrap: (store: Store) => Store = (store) => store,
  isHeld: (key: string) => boolean = () => true,
) {
  const clock = new VirtualClock();
  const store = openSqliteStore({ path: ":memory:", clock });
  const resources = [shop.gateway(8080), shop.route(), shop.backend("1", 9)];
  await store.commit(resources.map((resource) => ({ op: "create", resource })));
  const { delivery, failures, acknowledge } = fakeDelivery(isHeld);
  const told: string[] = [];
  const tell = (_fields: object, message: string): void => void told.push(message);
  const log = { info: tell, warn: tell, error: tell };
  const loop = new ProgramLoop({ store: wrap(store), delivery, clock, log, workers: 1 });
  const started = loop.start({ allSockets: true });
  await settle();
  return { clock, store, started, failures, told, acknowledge };
}

function isProgrammed(gateway: Resource | undefined): boolean {
  return JSON.stringify(gateway?.status ?? {}).includes('"Programmed"');
}

test("a person who annotates at that moment takes nobody's status away", async () => {
  const { store, started, acknowledge } = await world();
  const route = store.get("HTTPRoute", shop.NAMESPACE, shop.NAME) as Resource;
  const metadata = { ...route.metadata, annotations: { note: "now" } };
  const edit = store.commit([{ op: "update", resource: { ...route, metadata } }]);
  acknowledge();
  await Promise.all([started, edit]);
  await settle(10);
  assert.ok(isProgrammed(store.list("Gateway")[0]));
  store.close();
});

test("statuses that the disk refuses are written when it takes them again", async () => {
  let refusing = true;
  const { clock, store, started, acknowledge } = await world((under) => ({
    ...bound(under),
    commit: (changes) =>
      refusing ? Promise.reject(new StoreError("Unavailable", "full")) : under.commit(changes),
  }));
  acknowledge();
  await started;
  await settle();
  assert.ok(!isProgrammed(store.list("Gateway")[0]));
  refusing = false;
  await clock.advanceSettled(10_000);
  assert.ok(isProgrammed(store.list("Gateway")[0]));
  store.close();
});

test("a Gateway whose class becomes another's has no status of ours, but keeps others' words", async () => {
  const { clock, store, started, acknowledge } = await world();
  acknowledge();
  await started;
  await settle(10);
  const gateway = store.list("Gateway")[0] as Resource;
  assert.ok(isProgrammed(gateway));
  const theirs = { type: "example.com/Seen", status: "True", reason: "Seen", message: "" };
  const conditions = [...((gateway.status?.["conditions"] ?? []) as []), theirs];
  const spec = { ...gateway.spec, gatewayClassName: "other" };
  await store.commit([{ op: "update", resource: { ...gateway, spec } }]);
  const updated = store.list("Gateway")[0] as Resource;
  const status = { ...updated.status, conditions };
  await store.commit([{ op: "status", resource: { ...updated, status } }]);
  await settle(10);
  acknowledge();
  await clock.advanceSettled(1000);
  assert.deepEqual(store.list("Gateway")[0]?.status, { conditions: [theirs] });
  store.close();
});

test("a change whose compilation failed is compiled with what comes after it", async () => {
  let failing = false;
  const { clock, store, started, acknowledge } = await world((under) => ({
    ...bound(under),
    list: (kind, namespace) => {
      if (failing) throw new Error("a bug of the compiler");
      return under.list(kind, namespace);
    },
  }));
  acknowledge();
  await started;
  await settle(10);
  failing = true;
  const port = (listener: number, name: string) => ({
    ...shop.gateway(listener),
    metadata: { name, namespace: shop.NAMESPACE },
  });
  await store.commit([{ op: "create", resource: port(8081, "lost") }]);
  await settle(10);
  await store.commit([{ op: "create", resource: port(8082, "next") }]);
  await settle(10);
  failing = false;
  await clock.advanceSettled(1000);
  acknowledge();
  await settle(10);
  const programmed = store.list("Gateway").map((one) => [one.metadata.name, isProgrammed(one)]);
  assert.deepEqual(Object.fromEntries(programmed), { edge: true, lost: true, next: true });
  store.close();
});

/** `Programmed` of the first listener. */
function programmedOf(gateway: Resource | undefined): Partial<Condition> | undefined {
  const listeners = gateway?.status?.["listeners"] as { conditions: Condition[] }[] | undefined;
  return listeners?.[0]?.conditions.find(({ type }) => type === "Programmed");
}

test("what a worker cannot do stands in the listener's status until it can", async () => {
  const { store, started, failures, told, acknowledge } = await world();
  failures.set("socket/127.0.0.1:8080", "Cannot listen on 127.0.0.1:8080: EMFILE");
  failures.set("rule/HTTPRoute/default/checkout/0", "Cannot link the rule");
  acknowledge();
  await started;
  await settle(10);
  const gateway = (): Resource | undefined => store.list("Gateway")[0];
  const { status, reason, message } = programmedOf(gateway()) ?? {};
  assert.deepEqual([status, reason], ["False", "Invalid"]);
  assert.equal(message, "Cannot listen on 127.0.0.1:8080: EMFILE");
  assert.deepEqual(told, [
    `Gateway default/edge (listener http): Programmed: Invalid: ${message}`,
    "rule/HTTPRoute/default/checkout/0: Cannot link the rule",
  ]);
  const version = store.resourceVersion;
  acknowledge();
  await settle(10);
  assert.equal(store.resourceVersion, version, "the same again is no news");
  failures.clear();
  acknowledge();
  await settle(10);
  assert.equal(programmedOf(gateway())?.status, "True");
  assert.match(told.slice(2).join("\n"), /^mended: .*\nmended: /);
  store.close();
});

/** A delivery to one worker that listens on real sockets. */
async function realWorker(clock: Clock) {
  const memory = allocateSharedMemory(1);
  const metrics = new MetricRecorder(memory.metrics, 0);
  const [gates, limits] = [new Gates(memory.gates), new Limits(memory.limits)];
  const random = seededRandom(1);
  const about = { accessLog: NO_ACCESS_LOG, random, clock, reusePort: true };
  const plane = new DataPlane({ metrics, gates, limits, ...about });
  const linker = new Linker({ metrics, gates, limitSeed: limits.seed });
  const receiver = new Receiver({ linker, apply: (snapshot) => plane.apply(snapshot), clock });
  const { port1, port2 } = new MessageChannel();
  receiver.attach(port1);
  const rows = new MetricReader(memory.metrics);
  const delivery = createDelivery({ gates, rows, clock });
  delivery.addWorker(0, port2);
  return {
    delivery,
    async [Symbol.asyncDispose]() {
      delivery.close();
      receiver.close();
      await plane.drain(0);
    },
  };
}

test("an address that is not this host's, where the port is ours already, is told so", async () => {
  await using worker = await realWorker(systemClock);
  const { delivery } = worker;
  const port = await closedPort();
  const on = (name: string, value: string): ResourceDraft => {
    const listener = { name: "http", protocol: "HTTP", port, hostname: `${name}.example` };
    const addresses = [{ type: "IPAddress", value }];
    return {
      ...shop.gateway(port),
      metadata: { name, namespace: shop.NAMESPACE },
      spec: { gatewayClassName: "sluice", addresses, listeners: [listener] },
    };
  };
  const store = openSqliteStore({ path: ":memory:", clock: systemClock });
  await store.commit([{ op: "create", resource: on("all", "0.0.0.0") }]);
  const log = { info: () => undefined, warn: () => undefined, error: () => undefined };
  const loop = new ProgramLoop({ store, delivery, clock: systemClock, log, workers: 1 });
  await loop.start({ allSockets: true });
  // No other program can have it, so nobody tries it before the worker does.
  await store.commit([{ op: "create", resource: on("odd", "192.0.2.1") }]);
  const odd = (): Resource | undefined => store.get("Gateway", shop.NAMESPACE, "odd");
  await eventually(() => programmedOf(odd())?.status === "False");
  const { reason, message } = programmedOf(odd()) ?? {};
  assert.deepEqual(
    [reason, message],
    ["Invalid", `Cannot listen on 192.0.2.1:${port}: EADDRNOTAVAIL`],
  );
  assert.equal(programmedOf(store.get("Gateway", shop.NAMESPACE, "all"))?.status, "True");
  const { metadata } = odd() as Resource;
  await store.commit([{ op: "update", resource: { ...on("odd", "127.0.0.1"), metadata } }]);
  await eventually(() => programmedOf(odd())?.status === "True");
  loop.close();
  store.close();
});

test("a port that another program has is told, though an address of ours overlaps", async (t) => {
  const other = createServer().listen(0, "127.0.0.1");
  t.after(() => other.close());
  await once(other, "listening");
  const { port } = other.address() as AddressInfo;
  const isHeld = (key: string): boolean => key === "socket/127.0.0.1:8080";
  const { store, started, acknowledge } = await world(undefined, isHeld);
  acknowledge();
  await started;
  const { addresses: _addresses, ...everywhere } = shop.gateway(port)["spec"] as JsonObject;
  const metadata = { name: "everywhere", namespace: shop.NAMESPACE };
  const resource = { ...shop.gateway(port), metadata, spec: everywhere };
  await store.commit([{ op: "create", resource }]);
  await eventually(() => {
    acknowledge();
    const { status } = store.get("Gateway", shop.NAMESPACE, "everywhere") as Resource;
    return JSON.stringify(status ?? {}).includes("is in use by another program");
  });
  store.close();
});

function bound(store: Store): Store {
  return {
    resourceVersion: store.resourceVersion,
    unsavedCount: 0,
    get: (kind, namespace, name) => store.get(kind, namespace, name),
    list: (kind, namespace) => store.list(kind, namespace),
    records: (table) => store.records(table),
    commit: (changes) => store.commit(changes),
    watch: (listener, since) => store.watch(listener, since),
    close: () => undefined,
  };
}
