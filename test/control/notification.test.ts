/**
 * Delivery of the outbox to a real HTTP receiver: at least once under one key, also when the
 * process is killed between the request and its record; failures wait, end and are told; secrets
 * stay secret.
 */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:http";
import type { IncomingHttpHeaders, ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { test } from "node:test";
import type { TestContext } from "node:test";
import { fileURLToPath } from "node:url";
import { Agent } from "undici";
import { announcements } from "../../src/control/notification/announcement.ts";
import {
  CONFIG_NAME,
  findWebhook,
  SECRET_NAME,
} from "../../src/control/notification/configuration.ts";
import { POST_TIMEOUT_MS } from "../../src/control/notification/post.ts";
import { createProblemFinder } from "../../src/control/notification/problems.ts";
import { ATTEMPTS_MAX, createNotifications } from "../../src/control/notification/reconcile.ts";
import type { Resource, ResourceDraft } from "../../src/resource/resource.ts";
import { openSqliteStore } from "../../src/store/sqlite.ts";
import type { SqliteStore } from "../../src/store/sqlite.ts";
import { StoreError } from "../../src/store/store.ts";
import type { Change, Store } from "../../src/store/store.ts";
import { VirtualClock } from "../support/clock.ts";

interface Received {
  readonly method: string | undefined;
  readonly url: string | undefined;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
}

type Answer = (received: Received, response: ServerResponse) => void;

const ACCEPT: Answer = (_received, response) => response.writeHead(204).end();

/** A receiver that keeps what it is sent; `answer` may be replaced in mid-test. */
async function receiver(t: TestContext, answer: Answer = ACCEPT) {
  const received: Received[] = [];
  const state = { received, answer, url: "" };
  const server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on("data", (chunk: Buffer) => chunks.push(chunk));
    request.on("end", () => {
      const { method, url, headers } = request;
      const each = { method, url, headers, body: Buffer.concat(chunks).toString() };
      received.push(each);
      state.answer(each, response);
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  state.url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return state;
}

const PREFIX = "notifications.argoproj.io/subscribe";

function rollout(annotations: Readonly<Record<string, string>>): ResourceDraft {
  const metadata = { name: "checkout", namespace: "shop", annotations };
  const status = { currentPodHash: "b", stableRS: "a", phase: "Progressing" };
  return { apiVersion: "argoproj.io/v1alpha1", kind: "Rollout", metadata, status };
}

function configure(data: Readonly<Record<string, string>>, namespace = "shop"): Change {
  const metadata = { name: CONFIG_NAME, namespace };
  return { op: "create", resource: { apiVersion: "v1", kind: "ConfigMap", metadata, data } };
}

function secret(values: Readonly<Record<string, string>>): Change {
  const data = Object.fromEntries(
    Object.entries(values).map(([key, value]) => [key, Buffer.from(value).toString("base64")]),
  );
  const metadata = { name: SECRET_NAME, namespace: "shop" };
  return { op: "create", resource: { apiVersion: "v1", kind: "Secret", metadata, data } };
}

/** A Rollout that subscribes to completion, and configuration for it. */
async function setUp(
  t: TestContext,
  options: {
    readonly config: Readonly<Record<string, string>>;
    readonly secrets?: Readonly<Record<string, string>>;
    readonly annotations?: Readonly<Record<string, string>>;
    readonly path?: string;
  },
) {
  const clock = new VirtualClock();
  const store = openSqliteStore({ path: options.path ?? ":memory:", clock });
  const dispatcher = new Agent();
  t.after(async () => {
    await dispatcher.destroy();
    store.close();
  });
  const annotations = options.annotations ?? { [`${PREFIX}.on-rollout-completed.chat`]: "" };
  await store.commit([
    { op: "create", resource: rollout(annotations) },
    configure(options.config),
    ...(options.secrets === undefined ? [] : [secret(options.secrets)]),
  ]);
  const deliverer = (over: Store = store) =>
    createNotifications({ store: over, clock, random: () => 1, dispatcher });
  return { store, clock, deliverer };
}

/** Writes the status of a completed rollout together with what it announces. */
async function complete(store: SqliteStore): Promise<void> {
  const before = store.get("Rollout", "shop", "checkout");
  assert.ok(before !== undefined);
  const status = { ...before.status, stableRS: "b", phase: "Healthy" } as const;
  const changes = announcements(before, before.status, status);
  await store.commit([{ op: "status", resource: { ...before, status } }, ...changes]);
  assert.equal(store.records("outbox").size, 1);
}

const SIGNAL = new AbortController().signal;

function eventsOf(store: Store): readonly string[] {
  return store.list("Event").map(({ reason, message }) => {
    assert.ok(typeof reason === "string" && typeof message === "string");
    return `${reason}: ${message}`;
  });
}

test("an announcement is posted as JSON under its key, and leaves the outbox", async (t) => {
  const chat = await receiver(t);
  const { store, deliverer } = await setUp(t, {
    config: { "service.webhook.chat": `url: ${chat.url}/hook` },
  });
  await complete(store);
  const notifications = deliverer();
  assert.deepEqual(notifications.counts(), { pending: 1, dead: 0 });
  assert.deepEqual(await notifications.reconcile(SIGNAL), { wakeAtMs: undefined });
  const [received, ...others] = chat.received;
  assert.deepEqual(others, []);
  assert.equal(received?.method, "POST");
  assert.equal(received.url, "/hook");
  assert.match(String(received.headers["idempotency-key"]), /^[0-9a-f]{32}$/);
  const body = JSON.parse(received.body) as Readonly<Record<string, unknown>>;
  assert.equal(body["trigger"], "on-rollout-completed");
  const told = body["rollout"] as ResourceDraft;
  assert.equal(told.metadata.name, "checkout");
  assert.deepEqual(told["status"], { currentPodHash: "b", stableRS: "b", phase: "Healthy" });
  assert.deepEqual(notifications.counts(), { pending: 0, dead: 0 });
  await notifications.reconcile(SIGNAL);
  assert.equal(chat.received.length, 1);
});

test("templates, headers and secrets are filled in", async (t) => {
  const chat = await receiver(t);
  const { store, deliverer } = await setUp(t, {
    secrets: { token: "s3cret\n", user: "me", password: "pw" },
    annotations: { [`${PREFIX}.on-rollout-completed.chat`]: "team-a" },
    config: {
      "service.webhook.chat": [
        `url: ${chat.url}/base/`,
        "headers: [{name: X-Token, value: Token $token}, {name: Content-Type, value: text/plain}]",
        "basicAuth: {username: $user, password: $password}",
      ].join("\n"),
      "trigger.on-rollout-completed": "- send: [done]",
      "template.done": [
        "webhook:",
        "  chat:",
        "    method: PUT",
        "    path: //evil.example/{{.rollout.metadata.name}}",
        "    body: '{{.recipient}}: {{.rollout.metadata.name}} is {{.rollout.status.phase}}'",
      ].join("\n"),
    },
  });
  await complete(store);
  await deliverer().reconcile(SIGNAL);
  const [received] = chat.received;
  assert.equal(received?.method, "PUT");
  assert.equal(received.url, "/base/evil.example/checkout", "a path cannot lead elsewhere");
  assert.equal(received.body, "team-a: checkout is Healthy");
  assert.equal(received.headers["x-token"], "Token s3cret");
  assert.equal(received.headers["content-type"], "text/plain");
  const credentials = Buffer.from("me:pw").toString("base64");
  assert.equal(received.headers.authorization, `Basic ${credentials}`);
});

test("credentials in a webhook's URL may come from the Secret, and from nowhere else", () => {
  const hook = "http://me:p%40ss@127.0.0.1:1/hook?a=b";
  const secrets = { hook, user: "me", password: "p@ss" };
  const metadata = { uid: "u", resourceVersion: "1", generation: 1, creationTimestamp: "" };
  const find = (url: string) => {
    const config = { "service.webhook.chat": `url: ${url}` };
    const encoded = Object.entries(secrets).map(([key, value]) => [key, btoa(value)]);
    const get = (kind: string, namespace: string, name: string): Resource => ({
      apiVersion: "v1",
      kind,
      metadata: { ...metadata, namespace, name },
      data: kind === "Secret" ? (Object.fromEntries(encoded) as Record<string, string>) : config,
    });
    return findWebhook({ get }, "shop", { service: "chat", trigger: "on-rollout-completed" });
  };
  const headers = [["authorization", `Basic ${btoa("me:p@ss")}`]];
  for (const url of ["$hook", "http://$user:$password@127.0.0.1:1/hook?a=b"]) {
    const value = { url: "http://127.0.0.1:1/hook?a=b", headers };
    assert.deepEqual(find(url), { ok: true, value });
  }
  for (const userinfo of ["me:hunter2", "hunter2", "$user:hunter2"]) {
    const refused = find(`http://${userinfo}@127.0.0.1`);
    assert.ok(!refused.ok);
    assert.match(refused.problem, /url: credentials belong in basicAuth, headers or the Secret$/);
    assert.doesNotMatch(refused.problem, /hunter2/);
  }
});

test("a failure is tried again after growing waits, then given up with an Event", async (t) => {
  const chat = await receiver(t, (_received, response) => response.writeHead(500).end("no"));
  const { store, clock, deliverer } = await setUp(t, {
    config: { "service.webhook.chat": `url: ${chat.url}/path-with-token` },
  });
  await complete(store);
  const notifications = deliverer();
  const waits: number[] = [];
  for (let attempt = 1; attempt <= ATTEMPTS_MAX; attempt++) {
    const { wakeAtMs } = await notifications.reconcile(SIGNAL);
    assert.equal(chat.received.length, attempt);
    if (wakeAtMs === undefined) break;
    waits.push(wakeAtMs - clock.now());
    clock.advance(wakeAtMs - clock.now() - 1);
    await notifications.reconcile(SIGNAL);
    assert.equal(chat.received.length, attempt, "nothing is tried before its time");
    clock.advance(1);
  }
  const seconds = [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300];
  assert.deepEqual(
    waits,
    seconds.map((wait) => wait * 1000),
  );
  const keys = new Set(chat.received.map(({ headers }) => headers["idempotency-key"]));
  assert.equal(keys.size, 1);
  assert.deepEqual(notifications.counts(), { pending: 0, dead: 1 });
  const expected = "NotificationFailed: Gave up telling chat of on-rollout-completed: answered 500";
  assert.deepEqual(eventsOf(store), [expected]);
});

test("attempts are counted across restarts", async (t) => {
  const chat = await receiver(t, (_received, response) => response.writeHead(503).end());
  const { store, clock, deliverer } = await setUp(t, {
    config: { "service.webhook.chat": `url: ${chat.url}` },
  });
  await complete(store);
  for (let start = 0; start < 3; start++) {
    const { wakeAtMs } = await deliverer().reconcile(SIGNAL);
    assert.equal((wakeAtMs ?? 0) - clock.now(), 1000 * 2 ** start);
    clock.advance(1000 * 2 ** start);
  }
});

test("redirects are not followed, and a receiver that hangs is left", async (t) => {
  const other = await receiver(t);
  const chat = await receiver(t, (_received, response) =>
    response.writeHead(307, { location: other.url }).end(),
  );
  const { store, clock, deliverer } = await setUp(t, {
    config: { "service.webhook.chat": `url: ${chat.url}` },
  });
  await complete(store);
  const notifications = deliverer();
  const next = async (): Promise<void> => {
    const { wakeAtMs } = await notifications.reconcile(SIGNAL);
    clock.advance((wakeAtMs ?? 0) - clock.now());
  };
  await next();
  assert.deepEqual(other.received, []);
  const hanging = new Promise<void>((resolve) => {
    chat.answer = () => resolve();
  });
  const round = next();
  await hanging;
  clock.advance(POST_TIMEOUT_MS);
  await round;
  assert.equal(notifications.counts().pending, 1);
  chat.answer = (_received, response) => {
    // The status is there, the body never ends: that is accepted.
    response.writeHead(200, { "content-type": "text/plain" });
    response.write("x".repeat(200_000));
  };
  await next();
  assert.equal(notifications.counts().pending, 0);
});

test("what cannot be honoured is told before there is anything to deliver, once", async (t) => {
  const { store, deliverer } = await setUp(t, {
    annotations: {
      [`${PREFIX}.on-rollout-paused.nowhere`]: "",
      [`${PREFIX}.on-teapot.chat`]: "",
      [`${PREFIX}.on-rollout-paused.odd`]: "",
      [`${PREFIX}.on-rollout-paused.leaky`]: "",
    },
    secrets: {},
    config: {
      "service.webhook.odd": "url: http://127.0.0.1\ninsecureSkipVerify: true",
      "service.webhook.leaky": "url: http://u:hunter2@127.0.0.1/$missing",
    },
  });
  const notifications = deliverer();
  await notifications.reconcile(SIGNAL);
  await notifications.reconcile(SIGNAL);
  const told = eventsOf(store).toSorted();
  assert.equal(told.length, 4, told.join("\n"));
  assert.ok(told.every((text) => text.startsWith("NotificationMisconfigured: ")));
  const has = (pattern: RegExp): boolean => told.some((text) => pattern.test(text));
  assert.ok(has(/service "nowhere" is not configured/));
  assert.ok(has(/trigger "on-teapot" is not known/));
  assert.ok(has(/insecureSkipVerify is not supported/));
  assert.ok(has(/has no key missing/));
  assert.doesNotMatch(told.join("\n"), /hunter2/);
  assert.deepEqual(
    store.list("Event").map((event) => event["count"]),
    [1, 1, 1, 1],
  );
});

test("problems are found anew when annotations or configuration change, and only then", () => {
  const resources = new Map<string, Resource>();
  const annotations = { [`${PREFIX}.on-rollout-paused.chat`]: "" };
  const metadata = { uid: "u", resourceVersion: "1", generation: 1, creationTimestamp: "" };
  const find = createProblemFinder({
    get: (kind, namespace, name) => resources.get(`${kind}/${namespace}/${name}`),
  });
  const withStatus = (phase: string): Resource => {
    const draft = rollout({});
    return {
      ...draft,
      metadata: { ...metadata, ...draft.metadata, annotations },
      status: { phase },
    };
  };
  const first = find(withStatus("a"));
  assert.equal(first.length, 1);
  assert.equal(find(withStatus("b")), first);
  const change = configure({ "service.webhook.chat": "url: http://127.0.0.1" });
  assert.ok(change.op === "create");
  const config = { ...change.resource, metadata: { ...metadata, ...change.resource.metadata } };
  resources.set(`ConfigMap/shop/${CONFIG_NAME}`, config);
  assert.deepEqual(find(withStatus("c")), []);
});

test("configuration that comes later is enough", async (t) => {
  const chat = await receiver(t);
  const { store, clock, deliverer } = await setUp(t, { config: {} });
  await complete(store);
  const notifications = deliverer();
  const { wakeAtMs } = await notifications.reconcile(SIGNAL);
  await store.commit([configure({ "service.webhook.chat": `url: ${chat.url}` }, "argo-rollouts")]);
  clock.advance((wakeAtMs ?? 0) - clock.now());
  await notifications.reconcile(SIGNAL);
  assert.equal(chat.received.length, 1);
});

test("a disk that refuses to record a delivery does not repeat it", async (t) => {
  const chat = await receiver(t);
  const { store, clock, deliverer } = await setUp(t, {
    config: { "service.webhook.chat": `url: ${chat.url}` },
  });
  await complete(store);
  let isFull = true;
  const commit: Store["commit"] = (changes) =>
    isFull ? Promise.reject(new StoreError("Unavailable", "full")) : store.commit(changes);
  const full: Store = {
    resourceVersion: 0,
    unsavedCount: 0,
    get: (kind, namespace, name) => store.get(kind, namespace, name),
    list: (kind, namespace) => store.list(kind, namespace),
    records: (table) => store.records(table),
    watch: (listener) => store.watch(listener),
    close: () => undefined,
    commit,
  };
  const notifications = deliverer(full);
  for (let round = 0; round < 3; round++) {
    const { wakeAtMs } = await notifications.reconcile(SIGNAL);
    assert.equal((wakeAtMs ?? 0) - clock.now(), 1000);
    clock.advance(1000);
  }
  isFull = false;
  assert.deepEqual(await notifications.reconcile(SIGNAL), { wakeAtMs: undefined });
  assert.equal(chat.received.length, 1);
  assert.deepEqual(notifications.counts(), { pending: 0, dead: 0 });
});

test("killed between the request and its record: delivered again under the same key", async (t) => {
  const directory = mkdtempSync(path.join(tmpdir(), "sluice-notify-"));
  t.after(() => rmSync(directory, { recursive: true, force: true }));
  const file = path.join(directory, "store.db");
  const chat = await receiver(t);
  const { store } = await setUp(t, {
    path: file,
    config: { "service.webhook.chat": `url: ${chat.url}` },
  });
  await complete(store);
  store.close();
  const script = fileURLToPath(new URL("notify-until-killed.ts", import.meta.url));
  const start = () => spawn(process.execPath, [script, file], { stdio: "inherit" });
  const first = start();
  t.after(() => first.kill("SIGKILL"));
  chat.answer = () => first.kill("SIGKILL");
  await once(first, "exit");
  assert.equal(chat.received.length, 1);
  const second = start();
  t.after(() => second.kill("SIGKILL"));
  await new Promise<void>((resolve) => {
    chat.answer = (received, response) => {
      ACCEPT(received, response);
      resolve();
    };
  });
  assert.equal(chat.received.length, 2);
  const [one, two] = chat.received.map(({ headers }) => headers["idempotency-key"]);
  assert.equal(one, two);
  assert.equal(chat.received[0]?.body, chat.received[1]?.body);
});
