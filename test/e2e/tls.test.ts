/**
 * `sluice up` with HTTPS: certificates from files and from Secrets, rotated under a stream of
 * handshakes; sessions that one worker began and another resumes.
 */
import assert from "node:assert/strict";
import { once } from "node:events";
import { renameSync, writeFileSync } from "node:fs";
import path from "node:path";
import { describe, test } from "node:test";
import { connect, type TLSSocket } from "node:tls";
import { setTimeout as delay } from "node:timers/promises";
import { hasOpenssl, TestAuthority, type TestCertificate } from "../support/certificates.ts";
import { ask, secureConnect } from "../support/secure.ts";
import { eventually, freePort, Sluice } from "../support/sluice.ts";
import { origin } from "../support/upstream.ts";

const ROTATIONS = 4;
const ROTATE_MS = 1000;

function documents(port: number, backend: number, tls: string): string {
  return `
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge}
spec:
  gatewayClassName: sluice
  addresses: [{value: 127.0.0.1}]
  listeners: [{name: https, protocol: HTTPS, port: ${port}, tls: ${tls}}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: app}
spec: {parentRefs: [{name: edge}], rules: [{backendRefs: [{group: sluice.dev, kind: Backend, name: app}]}]}
---
apiVersion: sluice.dev/v1alpha1
kind: Backend
metadata: {name: app}
spec: {endpoints: [{ip: {address: 127.0.0.1, port: ${backend}}}]}
`;
}

/** Handshakes one after the other until told to stop; the subjects that were shown, in order. */
async function handshakes(port: number, ca: string, going: () => boolean): Promise<string[]> {
  const subjects: string[] = [];
  while (going()) {
    const socket = await secureConnect(port, { servername: "app.test", ca });
    const subject = socket.getPeerX509Certificate()?.subject ?? "";
    if (subjects.at(-1) !== subject) subjects.push(subject);
    assert.match(await ask(socket, "app.test"), /^HTTP\/1\.1 200/);
    socket.destroy();
  }
  return subjects;
}

describe("TLS under sluice up", { skip: hasOpenssl() ? false : "openssl is not there" }, () => {
  test("files rotated every second: no handshake fails, and open connections stay", async () => {
    using authority = new TestAuthority();
    await using upstream = await origin();
    const issued = Array.from({ length: ROTATIONS + 1 }, (_, index) =>
      authority.issue({ names: "DNS:app.test", subject: `/CN=number-${index}` }),
    );
    const [certificate, key] = ["cert.pem", "key.pem"].map((name) =>
      path.join(authority.directory, name),
    ) as [string, string];
    const put = (pair: TestCertificate): void => {
      // Not both at once, as most tools do it.
      writeFileSync(`${certificate}.new`, pair.certificate);
      renameSync(`${certificate}.new`, certificate);
      writeFileSync(`${key}.new`, pair.privateKey, { mode: 0o600 });
      renameSync(`${key}.new`, key);
    };
    put(issued[0] as TestCertificate);
    const port = await freePort();
    const options = `{sluice.dev/certificate-file: ${certificate}, sluice.dev/key-file: ${key}}`;
    const file = authority.write(
      "up.yaml",
      documents(port, upstream.port, `{options: ${options}}`),
    );
    await using sluice = await Sluice.start({ files: [file], workers: 2 });
    const ca = authority.certificate;
    const standing = await secureConnect(port, { servername: "app.test", ca });
    let rotating = true;
    const stream = handshakes(port, ca, () => rotating);
    const shown = new Set<string>();
    for (const pair of issued.slice(1)) {
      put(pair);
      await delay(ROTATE_MS);
      assert.match(await ask(standing, "app.test"), /^HTTP\/1\.1 200/);
    }
    await eventually("the last certificate is shown", async () => {
      const socket = await secureConnect(port, { servername: "app.test", ca });
      const subject = socket.getPeerX509Certificate()?.subject;
      socket.destroy();
      return subject === `CN=number-${ROTATIONS}`;
    });
    rotating = false;
    for (const subject of await stream) shown.add(subject);
    assert.ok(shown.size >= 3, [...shown].join());
    assert.match(await ask(standing, "app.test"), /^HTTP\/1\.1 200/);
    standing.destroy();
    assert.equal(await sluice.stop(), 0);
  });

  test("a Secret that is replaced is the next handshake's; no key is told anywhere", async () => {
    using authority = new TestAuthority();
    await using upstream = await origin();
    const [first, second] = ["first", "second"].map((name) =>
      authority.issue({ names: "DNS:app.test", subject: `/CN=${name}` }),
    ) as [TestCertificate, TestCertificate];
    const port = await freePort();
    const file = authority.write(
      "up.yaml",
      documents(port, upstream.port, "{certificateRefs: [{name: app}]}"),
    );
    await using sluice = await Sluice.start({ files: [file], workers: 2 });
    const gateway = await sluice.get("Gateway", "edge");
    assert.match(JSON.stringify(gateway.status), /Secret default\/app does not exist/);
    const ca = authority.certificate;
    const subjectNow = async (): Promise<string | undefined> => {
      const socket: TLSSocket = connect({ port, host: "127.0.0.1", servername: "app.test", ca });
      await once(socket, "secureConnect");
      const subject = socket.getPeerX509Certificate()?.subject;
      socket.destroy();
      return subject;
    };
    for (const [name, pair] of [["first", first] as const, ["second", second] as const]) {
      const data = {
        "tls.crt": Buffer.from(pair.certificate).toString("base64"),
        "tls.key": Buffer.from(pair.privateKey).toString("base64"),
      };
      await sluice.apply({
        apiVersion: "v1",
        kind: "Secret",
        metadata: { name: "app", namespace: "default" },
        type: "kubernetes.io/tls",
        data,
      });
      await eventually(`${name} is shown`, async () => (await subjectNow()) === `CN=${name}`);
    }
    const programmed = await eventually("the listener is programmed", async () => {
      const { status } = await sluice.get("Gateway", "edge");
      const text = JSON.stringify(status);
      return /"Programmed","status":"True"|"status":"True","type":"Programmed"/.test(text)
        ? text
        : undefined;
    });
    const body = second.privateKey.split("\n")[1] ?? "";
    assert.ok(body.length > 20);
    for (const text of [programmed, sluice.output]) assert.ok(!text.includes(body));
  });

  test("sessions are resumed by whichever worker takes the connection", async () => {
    using authority = new TestAuthority();
    await using upstream = await origin();
    const pair = authority.issue({ names: "DNS:app.test" });
    const certificate = authority.write("cert.pem", pair.certificate);
    const key = authority.write("key.pem", pair.privateKey);
    const port = await freePort();
    const options = `{sluice.dev/certificate-file: ${certificate}, sluice.dev/key-file: ${key}}`;
    const file = authority.write(
      "up.yaml",
      documents(port, upstream.port, `{options: ${options}}`),
    );
    await using sluice = await Sluice.start({ files: [file], workers: 2 });
    const about = { servername: "app.test", ca: authority.certificate };
    const first = await secureConnect(port, about);
    const told = once(first, "session") as Promise<[Buffer]>;
    await ask(first, "app.test");
    const [session] = await told;
    first.destroy();
    for (let count = 0; count < 12; count++) {
      const socket = await secureConnect(port, { ...about, session });
      assert.equal(socket.isSessionReused(), true);
      socket.destroy();
    }
    assert.equal(await sluice.stop(), 0);
  });
});
