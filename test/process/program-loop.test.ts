/** The loop from resources to traffic writes every status in the end, whoever writes meanwhile. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Delivery } from "../../src/delivery/delivery.ts";
import { ProgramLoop } from "../../src/process/program-loop.ts";
import type { Resource } from "../../src/resource/resource.ts";
import { openSqliteStore } from "../../src/store/sqlite.ts";
import { StoreError, type Store } from "../../src/store/store.ts";
import { settle, VirtualClock } from "../support/clock.ts";
import * as shop from "../support/shop.ts";

/** A delivery whose workers have every socket and acknowledge when they are told to. */
function fakeDelivery() {
  let acknowledge = (): void => undefined;
  const delivery = {
    generation: 0,
    acknowledgedGeneration: 0,
    readyCount: 1,
    isHeld: () => true,
    failures: () => new Map<string, string>(),
    publish: () => ++delivery.generation,
    onAcknowledged: (listener: () => void) => {
      acknowledge = () => {
        delivery.acknowledgedGeneration = delivery.generation;
        listener();
      };
      return () => undefined;
    },
  };
  return { delivery: delivery as unknown as Delivery, acknowledge: () => acknowledge() };
}

async function world(wrap: (store: Store) => Store = (store) => store) {
  const clock = new VirtualClock();
  const store = openSqliteStore({ path: ":memory:", clock });
  const resources = [shop.gateway(8080), shop.route(), shop.backend("1", 9)];
  await store.commit(resources.map((resource) => ({ op: "create", resource })));
  const { delivery, acknowledge } = fakeDelivery();
  const log = { info: () => undefined, warn: () => undefined, error: () => undefined };
  const loop = new ProgramLoop({ store: wrap(store), delivery, clock, log, workers: 1 });
  const started = loop.start({ allSockets: true });
  await settle();
  return { clock, store, started, acknowledge };
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
