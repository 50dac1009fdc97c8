/**
 * Certificates from a CA, pebble: asked for by a Gateway's annotation, proven over HTTP by the gateway
 * itself, served, renewed, and kept over restarts, without one order too many.
 */
import assert from "node:assert/strict";
import { X509Certificate } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { test } from "node:test";
import { connect } from "node:tls";
import { hasOpenssl } from "../support/certificates.ts";
import { findGoTool, PEBBLE } from "../support/go-tool.ts";
import { Pebble } from "../support/pebble.ts";
import { sampleApp } from "../support/sample-app.ts";
import * as shop from "../support/shop.ts";
import { eventually, freePort, Sluice } from "../support/sluice.ts";
import type { Resource, ResourceDraft } from "../../src/resource/resource.ts";

const pebble = findGoTool(PEBBLE);
const skip = "skip" in pebble ? pebble.skip : hasOpenssl() ? false : "openssl is not there";
const pebblePath = "path" in pebble ? pebble.path : "";

const HOST = "shop.example.com";
const SECRET = "shop-tls";

function issuer(server: Pebble, extra: object = {}): ResourceDraft {
  return {
    apiVersion: "cert-manager.io/v1",
    kind: "Issuer",
    metadata: { name: "ca", namespace: shop.NAMESPACE },
    spec: {
      acme: {
        server: server.url,
        caBundle: server.caBundle,
        email: "ops@example.com",
        privateKeySecretRef: { name: "ca-account" },
        solvers: [{ http01: { gatewayHTTPRoute: {} } }],
        ...extra,
      },
    },
  };
}

function gateway(at: { readonly http: number; readonly https: number }): ResourceDraft {
  const plain = shop.gateway(at.http);
  const { listeners, ...spec } = plain["spec"] as { readonly listeners: readonly object[] };
  const https = {
    name: "https",
    protocol: "HTTPS",
    port: at.https,
    hostname: HOST,
    tls: { certificateRefs: [{ name: SECRET }] },
  };
  return {
    ...plain,
    metadata: { ...plain.metadata, annotations: { "cert-manager.io/issuer": "ca" } },
    spec: { ...spec, listeners: [...listeners, https] },
  };
}

interface Served {
  readonly status: string;
  readonly certificate: X509Certificate;
}

/** One request over TLS by a client that trusts `ca` alone. Rejects where that does not vouch. */
function ask(port: number, ca: string): Promise<Served> {
  return new Promise((resolve, reject) => {
    const socket = connect({ port, host: "127.0.0.1", servername: HOST, ca }, () => {
      const certificate = socket.getPeerX509Certificate();
      socket.write(`GET / HTTP/1.1\r\nhost: ${HOST}\r\nconnection: close\r\n\r\n`);
      let text = "";
      socket.on("data", (data) => (text += String(data)));
      socket.on("end", () => {
        socket.destroy();
        if (certificate === undefined) reject(new Error("no certificate"));
        else resolve({ status: text.split("\r\n")[0] ?? "", certificate });
      });
    });
    socket.on("error", reject);
  });
}

interface StatusShape {
  readonly conditions?: readonly {
    readonly type: string;
    readonly status: string;
    readonly reason: string;
    readonly message: string;
  }[];
  readonly revision?: number;
  readonly renewalTime?: string;
  readonly notAfter?: string;
  readonly failedIssuanceAttempts?: number;
  readonly nextIssuanceTime?: string;
}

function statusOf(resource: Resource): StatusShape {
  return resource.status ?? {};
}

function condition(resource: Resource, type: string) {
  return statusOf(resource).conditions?.find((one) => one.type === type);
}

async function untilReady(sluice: Sluice, revision = 1): Promise<StatusShape> {
  let last: Resource | undefined;
  try {
    return await eventually(
      `certificate ${revision} is ready`,
      async () => {
        last = await sluice.get("certificate", SECRET);
        const status = statusOf(last);
        const ready = condition(last, "Ready")?.status === "True";
        return ready && (status.revision ?? 0) >= revision ? status : undefined;
      },
      30_000,
    );
  } catch (error) {
    const orders = await sluice.api("GET", "/apis/acme.cert-manager.io/v1/orders");
    const challenges = await sluice.api("GET", "/apis/acme.cert-manager.io/v1/challenges");
    const seen = [last, orders.body.items, challenges.body.items, sluice.output];
    throw new Error(JSON.stringify(seen, undefined, 1), { cause: error });
  }
}

async function ports() {
  return { http: await freePort(), https: await freePort() };
}

test("a Gateway with the annotation gets a certificate and serves it", { skip }, async () => {
  using app = await sampleApp("1");
  const at = await ports();
  await using ca = await Pebble.start({ path: pebblePath, httpPort: at.http });
  const dataDirectory = mkdtempSync(path.join(tmpdir(), "sluice-acme-"));
  try {
    let serial: string;
    {
      await using sluice = await Sluice.start({ dataDirectory });
      await sluice.apply(gateway(at), shop.route(), shop.backend("1", app.port));
      await eventually("HTTP works without a certificate", async () => {
        return (await fetch(`http://127.0.0.1:${at.http}/`)).ok;
      });
      await eventually("the HTTPS listener says what it waits for", async () => {
        const { listeners = [] } = (await sluice.get("gateway", "edge")).status as {
          listeners?: { name: string; conditions: { type: string; status: string }[] }[];
        };
        const https = listeners.find(({ name }) => name === "https");
        const isFalse = (type: string): boolean =>
          https?.conditions.some((one) => one.type === type && one.status === "False") === true;
        return isFalse("Programmed") && isFalse("ResolvedRefs");
      });
      await eventually("the Certificate says what it waits for", async () => {
        const certificate = await sluice.get("certificate", SECRET);
        return /Issuer ca, which does not exist/.test(
          condition(certificate, "Issuing")?.message ?? "",
        );
      });
      // Everything is moved to HTTPS and needs a key: the CA's question is answered all the same.
      await sluice.apply({
        apiVersion: "gateway.networking.k8s.io/v1",
        kind: "HTTPRoute",
        metadata: { name: "moved", namespace: shop.NAMESPACE },
        spec: {
          parentRefs: [{ name: "edge", sectionName: "http" }],
          hostnames: [HOST],
          rules: [{ filters: [{ type: "RequestRedirect", requestRedirect: { scheme: "https" } }] }],
        },
      });
      await sluice.apply(issuer(ca));
      const { notAfter = "", renewalTime = "" } = await untilReady(sluice);
      const root = await ca.root();
      const served = await eventually("HTTPS is served", () => ask(at.https, root));
      assert.equal(served.status, "HTTP/1.1 200 OK");
      assert.ok(served.certificate.checkHost(HOST));
      serial = served.certificate.serialNumber;
      assert.equal(served.certificate.validToDate.getTime(), Date.parse(notAfter));
      const lifeMs = Date.parse(notAfter) - served.certificate.validFromDate.getTime();
      const thirds = (Date.parse(notAfter) - Date.parse(renewalTime)) / lifeMs;
      assert.ok(Math.abs(thirds - 1 / 3) < 0.01, `renewed ${thirds} of its life before the end`);

      const secret = await sluice.get("secret", SECRET);
      assert.equal(secret["type"], "kubernetes.io/tls");
      const secrets = await sluice.api("GET", "/api/v1/namespaces/default/secrets");
      const names = secrets.body.items.map(({ metadata }) => metadata.name).toSorted();
      assert.deepEqual(names, ["ca-account", SECRET], "the temporary key is gone");
      const { items } = (await sluice.api("GET", "/apis/acme.cert-manager.io/v1/challenges")).body;
      assert.deepEqual(items, [], "no answer is left");
      assert.ok(!sluice.output.includes("PRIVATE KEY"));
      assert.equal(await sluice.stop(), 0);
    }
    assert.equal(ca.orders, 1);
    await using again = await Sluice.start({ dataDirectory });
    const served = await eventually("HTTPS after a restart", async () =>
      ask(at.https, await ca.root()),
    );
    assert.equal(served.certificate.serialNumber, serial);
    await untilReady(again);
    assert.equal(ca.orders, 1, "no other order");
  } finally {
    rmSync(dataDirectory, { recursive: true, force: true });
  }
});

test("a short-lived certificate is renewed, without a failed handshake", { skip }, async () => {
  using app = await sampleApp("1");
  const at = await ports();
  await using ca = await Pebble.start({ path: pebblePath, httpPort: at.http, validSeconds: 18 });
  await using sluice = await Sluice.start({ workers: 1 });
  await sluice.apply(issuer(ca), gateway(at), shop.route(), shop.backend("1", app.port));
  await untilReady(sluice);
  const root = await ca.root();
  const serials = new Set<string>();
  await eventually("HTTPS is served", () => ask(at.https, root));
  await eventually(
    "a second certificate is served",
    async () => {
      const { status, certificate } = await ask(at.https, root).catch((error: unknown) => {
        // A handshake that fails is what must not happen, and no reason to ask again.
        assert.fail(`handshake: ${String(error)}`);
      });
      assert.equal(status, "HTTP/1.1 200 OK");
      serials.add(certificate.serialNumber);
      return serials.size >= 2;
    },
    60_000,
  );
});

test("killed at any moment of an order, it goes on with that order", { skip }, async () => {
  using app = await sampleApp("1");
  const at = await ports();
  // The CA takes its time to look, so that kills fall into every state of the order.
  const env = { PEBBLE_VA_NOSLEEP: "0", PEBBLE_VA_SLEEPTIME: "1" };
  await using ca = await Pebble.start({ path: pebblePath, httpPort: at.http, env });
  const dataDirectory = mkdtempSync(path.join(tmpdir(), "sluice-acme-"));
  try {
    const states: string[] = [];
    for (const wanted of ["", "pending", "processing", "ready"]) {
      await using sluice = await Sluice.start({ dataDirectory, workers: 1 });
      if (wanted === "") {
        await sluice.apply(issuer(ca), gateway(at), shop.route(), shop.backend("1", app.port));
      }
      const state = await eventually("an order, or its end", async () => {
        const { items } = (await sluice.api("GET", "/apis/acme.cert-manager.io/v1/orders")).body;
        const [order] = items;
        const now = (order?.status?.["state"] as string | undefined) ?? "";
        return now === wanted || now === "valid" ? now || "none" : undefined;
      });
      states.push(state);
      await sluice.kill();
    }
    await using sluice = await Sluice.start({ dataDirectory, workers: 1 });
    await untilReady(sluice);
    assert.ok(ca.orders <= 2, `${ca.orders} orders; killed in ${states.join(", ")}`);
  } finally {
    rmSync(dataDirectory, { recursive: true, force: true });
  }
});

test(
  "what a CA refuses is said, and tried again in an hour at the earliest",
  { skip },
  async () => {
    const at = await ports();
    // Nobody answers where the CA looks.
    await using ca = await Pebble.start({ path: pebblePath, httpPort: await freePort() });
    await using sluice = await Sluice.start({ workers: 1 });
    const beganMs = Date.now();
    await sluice.apply(issuer(ca), gateway(at));
    const failed = await eventually("the attempt has failed", async () => {
      const certificate = await sluice.get("certificate", SECRET);
      return condition(certificate, "Issuing")?.reason === "Failed" ? certificate : undefined;
    });
    assert.match(condition(failed, "Issuing")?.message ?? "", /refused/);
    const { failedIssuanceAttempts, nextIssuanceTime = "" } = statusOf(failed);
    assert.equal(failedIssuanceAttempts, 1);
    assert.ok(Date.parse(nextIssuanceTime) >= beganMs + 3_599_000, nextIssuanceTime);
    const { items } = (await sluice.api("GET", "/api/v1/namespaces/default/events")).body;
    const told = items.filter((event) => event["reason"] === "Failed");
    assert.equal(told.length, 1);
    assert.equal(told[0]?.["type"], "Warning");
    assert.equal(ca.orders, 1);
  },
);

test("an account that the CA knows by another one; a CA that forgets it", { skip }, async () => {
  using app = await sampleApp("1");
  const at = await ports();
  const key = Buffer.alloc(32, 7).toString("base64url");
  const externalAccounts = { "kid-1": key };
  await using ca = await Pebble.start({ path: pebblePath, httpPort: at.http, externalAccounts });
  await using sluice = await Sluice.start({ workers: 1 });
  const externalAccountBinding = { keyID: "kid-1", keySecretRef: { name: "eab", key: "mac" } };
  await sluice.apply(issuer(ca, { externalAccountBinding }));
  await eventually("the issuer says what it lacks", async () => {
    return /Secret eab has no key mac/.test(
      condition(await sluice.get("issuer", "ca"), "Ready")?.message ?? "",
    );
  });
  await sluice.apply({
    apiVersion: "v1",
    kind: "Secret",
    metadata: { name: "eab", namespace: shop.NAMESPACE },
    stringData: { mac: key },
  });
  await eventually("the account is registered", async () => {
    return condition(await sluice.get("issuer", "ca"), "Ready")?.status === "True";
  });
  await ca.stop();
  await ca.resume();
  await sluice.apply(gateway(at), shop.route(), shop.backend("1", app.port));
  await untilReady(sluice);
});
