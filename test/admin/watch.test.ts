/**
 * Watches: what a client sees between two lists, with selectors, bookmarks and expired versions;
 * and the informer of the official client library through lost connections.
 */
import assert from "node:assert/strict";
import { once } from "node:events";
import { connect, createServer } from "node:net";
import type { AddressInfo, Socket } from "node:net";
import { createInterface } from "node:readline";
import { Readable } from "node:stream";
import test from "node:test";
import * as k8s from "@kubernetes/client-node";
import { kubeconfigText } from "../../src/admin/kubeconfig.ts";
import type { Change } from "../../src/store/store.ts";
import { ask, openAdmin } from "../support/admin.ts";
import type { TestAdmin } from "../support/admin.ts";
import { VirtualClock } from "../support/clock.ts";

const TIMEOUT_MS = 30_000;
const BACKENDS = "/apis/sluice.dev/v1alpha1/namespaces/default/backends";
const MERGE = "application/merge-patch+json";

function backend(name: string, labels: Record<string, string> = {}): object {
  const endpoints = [{ ip: { address: "127.0.0.1", port: 9001 } }];
  return { metadata: { name, labels }, spec: { version: "1", endpoints } };
}

interface Line {
  readonly type: string;
  readonly object: {
    readonly kind: string;
    readonly code?: number;
    readonly metadata: {
      readonly name?: string;
      readonly resourceVersion?: string;
      readonly annotations?: Readonly<Record<string, string>>;
    };
    readonly rows?: readonly { readonly cells: readonly unknown[] }[];
  };
}

/** A watch whose lines are read one by one; undefined at its end. */
class Watching implements AsyncDisposable {
  readonly #lines: AsyncIterator<string>;
  readonly #abort: AbortController;

  constructor(body: Readable, abort: AbortController) {
    body.on("error", () => undefined);
    this.#lines = createInterface(body)[Symbol.asyncIterator]();
    this.#abort = abort;
  }

  static async open(admin: TestAdmin, query: string, accept?: string): Promise<Watching> {
    const abort = new AbortController();
    const response = await fetch(`${admin.url}${BACKENDS}?watch=1${query}`, {
      signal: abort.signal,
      ...(accept !== undefined && { headers: { accept } }),
    });
    assert.equal(response.status, 200);
    assert.ok(response.body !== null);
    return new Watching(Readable.fromWeb(response.body as never), abort);
  }

  async next(): Promise<Line | undefined> {
    const { value, done } = await this.#lines.next();
    return done === true ? undefined : (JSON.parse(value) as Line);
  }

  /** The next line as "TYPE name". */
  async told(): Promise<string> {
    const line = await this.next();
    return line === undefined ? "end" : `${line.type} ${line.object.metadata.name ?? ""}`.trim();
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.#abort.abort();
    return Promise.resolve();
  }
}

async function create(admin: TestAdmin, name: string, labels = {}): Promise<void> {
  const { status, text } = await ask(admin, `POST ${BACKENDS}`, { body: backend(name, labels) });
  assert.equal(status, 201, text);
}

async function relabel(admin: TestAdmin, name: string, app: string): Promise<void> {
  const body = { metadata: { labels: { app } } };
  assert.equal((await ask(admin, `PATCH ${BACKENDS}/${name}`, { body, type: MERGE })).status, 200);
}

test(
  "a watch from a list's version misses nothing and repeats nothing",
  { timeout: TIMEOUT_MS },
  async () => {
    await using admin = await openAdmin();
    await create(admin, "a");
    const listed = await ask(admin, `GET ${BACKENDS}`);
    const { resourceVersion } = listed.body["metadata"] as { resourceVersion: string };
    await create(admin, "b");
    await using watching = await Watching.open(admin, `&resourceVersion=${resourceVersion}`);
    assert.equal(await watching.told(), "ADDED b");
    await relabel(admin, "a", "x");
    assert.equal(await watching.told(), "MODIFIED a");
    await ask(admin, `DELETE ${BACKENDS}/a`);
    assert.equal(await watching.told(), "DELETED a");
    await create(admin, "c");
    assert.equal(await watching.told(), "ADDED c");
  },
);

test("a watch without version begins with what there is", { timeout: TIMEOUT_MS }, async () => {
  await using admin = await openAdmin();
  await create(admin, "a");
  await create(admin, "b");
  await using watching = await Watching.open(admin, "");
  assert.deepEqual([await watching.told(), await watching.told()], ["ADDED a", "ADDED b"]);
  await using table = await Watching.open(
    admin,
    "&resourceVersion=0",
    "application/json;as=Table;v=v1;g=meta.k8s.io",
  );
  const line = await table.next();
  assert.equal(line?.object.kind, "Table");
  assert.equal(line?.object.rows?.[0]?.cells[0], "a");
});

test(
  "what a selector no longer selects is deleted for the watcher",
  { timeout: TIMEOUT_MS },
  async () => {
    await using admin = await openAdmin();
    await using byLabel = await Watching.open(admin, "&labelSelector=app%3Dx");
    await using byField = await Watching.open(admin, "&fieldSelector=metadata.name%3Db");
    await create(admin, "a", { app: "y" });
    await relabel(admin, "a", "x");
    assert.equal(await byLabel.told(), "ADDED a");
    await relabel(admin, "a", "y");
    assert.equal(await byLabel.told(), "DELETED a");
    await create(admin, "b", { app: "x" });
    assert.equal(await byLabel.told(), "ADDED b");
    assert.equal(await byField.told(), "ADDED b");
    await ask(admin, `DELETE ${BACKENDS}/b`);
    assert.equal(await byLabel.told(), "DELETED b");
  },
);

test("initial events end with a bookmark", { timeout: TIMEOUT_MS }, async () => {
  await using admin = await openAdmin();
  await create(admin, "a");
  const query =
    "&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true";
  await using watching = await Watching.open(admin, query);
  assert.equal(await watching.told(), "ADDED a");
  const bookmark = await watching.next();
  assert.equal(bookmark?.type, "BOOKMARK");
  assert.equal(bookmark.object.kind, "Backend");
  assert.equal(bookmark.object.metadata.annotations?.["k8s.io/initial-events-end"], "true");
  assert.equal(bookmark.object.metadata.resourceVersion, String(admin.store.resourceVersion));
});

test(
  "bookmarks come each minute, and a watch ends in its time",
  { timeout: TIMEOUT_MS },
  async () => {
    const clock = new VirtualClock();
    await using admin = await openAdmin({ clock });
    const version = String(admin.store.resourceVersion);
    const query = `&resourceVersion=${version}&allowWatchBookmarks=true&timeoutSeconds=150`;
    await using watching = await Watching.open(admin, query);
    for (let minute = 1; minute <= 2; minute++) {
      clock.advance(60_000);
      const bookmark = await watching.next();
      assert.equal(bookmark?.type, "BOOKMARK");
      assert.equal(bookmark.object.metadata.resourceVersion, version);
    }
    clock.advance(30_000);
    assert.equal(await watching.told(), "BOOKMARK", "the last one says how far it came");
    assert.equal(await watching.told(), "end");
  },
);

test(
  "an expired version and one that is yet to come are answered by 410",
  { timeout: TIMEOUT_MS },
  async () => {
    await using admin = await openAdmin();
    await outliveHistory(admin);
    for (const version of ["1", String(admin.store.resourceVersion + 1)]) {
      await using watching = await Watching.open(admin, `&resourceVersion=${version}`);
      const line = await watching.next();
      assert.deepEqual(
        [line?.type, line?.object.kind, line?.object.code],
        ["ERROR", "Status", 410],
      );
      assert.equal(await watching.told(), "end");
    }
  },
);

test("closing the server ends its watches", { timeout: TIMEOUT_MS }, async () => {
  const admin = await openAdmin();
  await using watching = await Watching.open(admin, "&allowWatchBookmarks=true");
  await admin.close();
  assert.equal(await watching.told(), "BOOKMARK");
  assert.equal(await watching.told(), "end");
});

/** Writes more than the history holds (10,000 entries). */
async function outliveHistory(admin: TestAdmin): Promise<void> {
  const metadata = { name: "busy", namespace: "default" };
  const settings = { apiVersion: "v1", kind: "ConfigMap", metadata };
  await admin.store.commit([{ op: "create", resource: { ...settings, data: {} } }]);
  for (let batch = 0; batch < 21; batch++) {
    const changes = Array.from({ length: 500 }, (_, index): Change => {
      const data = { n: `${batch}.${index}` };
      return { op: "update", resource: { ...settings, data } };
    });
    await admin.store.commit(changes);
  }
}

/** A TCP relay in front of the server that can lose its connections and come back. */
class Relay implements AsyncDisposable {
  readonly #server = createServer((socket) => this.#join(socket));
  readonly #sockets = new Set<Socket>();
  readonly #port: number;
  #cut = false;

  constructor(port: number) {
    this.#port = port;
  }

  async listen(): Promise<number> {
    this.#server.listen(0, "127.0.0.1");
    await once(this.#server, "listening");
    return (this.#server.address() as AddressInfo).port;
  }

  cut(): void {
    this.#cut = true;
    for (const socket of this.#sockets) socket.destroy();
  }

  mend(): void {
    this.#cut = false;
  }

  #join(socket: Socket): void {
    if (this.#cut) {
      socket.destroy();
      return;
    }
    const upstream = connect(this.#port, "127.0.0.1");
    for (const [one, other] of [
      [socket, upstream],
      [upstream, socket],
    ] as const) {
      this.#sockets.add(one);
      one.on("error", () => undefined);
      one.once("close", () => {
        this.#sockets.delete(one);
        other.destroy();
      });
    }
    socket.pipe(upstream);
    upstream.pipe(socket);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.cut();
    this.#server.close();
    await once(this.#server, "close");
  }
}

interface Backend extends k8s.KubernetesObject {
  readonly spec?: { readonly version: string };
}

function connectClient(url: string): k8s.KubeConfig {
  const config = new k8s.KubeConfig();
  config.loadFromString(kubeconfigText(url));
  return config;
}

test(
  "the informer of @kubernetes/client-node, through a lost connection and Gone",
  { timeout: TIMEOUT_MS },
  async () => {
    await using admin = await openAdmin();
    await using relay = new Relay(admin.port);
    const config = connectClient(`http://127.0.0.1:${await relay.listen()}`);
    const objects = config.makeApiClient(k8s.CustomObjectsApi);
    const list = (): Promise<k8s.KubernetesListObject<Backend>> =>
      objects.listNamespacedCustomObject({
        group: "sluice.dev",
        version: "v1alpha1",
        namespace: "default",
        plural: "backends",
      });
    const seen: string[] = [];
    let wake = (): void => undefined;
    const told =
      (type: string) =>
      (object: Backend): void => {
        seen.push(`${type} ${object.metadata?.name ?? ""}`);
        wake();
      };
    const until = async (entry: string): Promise<void> => {
      while (!seen.includes(entry)) {
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      }
    };
    const informer = k8s.makeInformer<Backend>(config, BACKENDS, list);
    informer.on("add", told("add"));
    informer.on("update", told("update"));
    informer.on("delete", told("delete"));
    let errors = 0;
    // As the library's documentation says: after an error the application starts the informer again.
    informer.on("error", () => {
      errors++;
      if (errors < 1000) setImmediate(() => void informer.start());
    });
    await create(admin, "a");
    await informer.start();
    try {
      await until("add a");
      await create(admin, "b");
      await until("add b");
      await relabel(admin, "b", "x");
      await until("update b");
      relay.cut();
      await ask(admin, `DELETE ${BACKENDS}/a`);
      await create(admin, "c");
      await outliveHistory(admin);
      relay.mend();
      await until("delete a");
      await until("add c");
      await create(admin, "d");
      await until("add d");
      const names = new Set(informer.list().map(({ metadata }) => metadata?.name));
      assert.deepEqual(names, new Set(["b", "c", "d"]));
      assert.equal(seen.filter((entry) => entry === "add b").length, 1, "nothing is told twice");
    } finally {
      await informer.stop();
    }
  },
);

test("typed and untyped clients of @kubernetes/client-node", { timeout: TIMEOUT_MS }, async () => {
  await using admin = await openAdmin();
  const config = connectClient(admin.url);
  const core = config.makeApiClient(k8s.CoreV1Api);
  const namespace = "default";
  const body = { metadata: { name: "token" }, stringData: { apiKey: "s3cret" } };
  const created = await core.createNamespacedSecret({ namespace, body });
  assert.deepEqual(created.data, { apiKey: "czNjcmV0" });
  assert.ok(created.metadata?.creationTimestamp instanceof Date);
  const { items } = await core.listNamespacedSecret({ namespace });
  assert.deepEqual(
    items.map(({ metadata }) => metadata?.name),
    ["token"],
  );
  await core.deleteNamespacedSecret({ name: "token", namespace, propagationPolicy: "Background" });
  await assert.rejects(core.readNamespacedSecret({ name: "token", namespace }), { code: 404 });
  const objects = k8s.KubernetesObjectApi.makeApiClient(config);
  const kind = { apiVersion: "sluice.dev/v1alpha1", kind: "Backend" };
  const document: k8s.KubernetesObject = { ...kind, ...backend("a") };
  const made = await objects.create(document);
  assert.equal(made.metadata?.name, "a");
  const patched = await objects.patch(
    { ...document, spec: { version: "2" } } as k8s.KubernetesObject,
    undefined,
    undefined,
    undefined,
    undefined,
    k8s.PatchStrategy.MergePatch,
  );
  assert.equal((patched as Backend).spec?.version, "2");
  const review = { spec: { resourceAttributes: { verb: "get", resource: "backends" } } };
  const access = config.makeApiClient(k8s.AuthorizationV1Api);
  const { status } = await access.createSelfSubjectAccessReview({ body: review });
  assert.equal(status?.allowed, true);
});
