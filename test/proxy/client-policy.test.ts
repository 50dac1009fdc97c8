/** ClientTrafficPolicies on sockets: PROXY protocol, limits of connections, timeouts, HTTP/2; IPv6. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { connect as connectHttp2, type ClientHttp2Session } from "node:http2";
import { connect, createServer, isIPv6, type Socket } from "node:net";
import { mkdtempSync, rmSync } from "node:fs";
import { networkInterfaces, tmpdir } from "node:os";
import path from "node:path";
import { describe, test } from "node:test";
import { connect as connectTls } from "node:tls";
import type { ClientPart, Part, SocketPart } from "../../src/compile/program.ts";
import { allocateSharedMemory } from "../../src/shared/memory.ts";
import { SERVED } from "../support/certificates.ts";
import {
  type GatewayOptions,
  oneRoute,
  SOCKET_KEY,
  testGateway,
  type TestGateway,
} from "../support/gateway.ts";
import { ask, privateKeys, secureParts } from "../support/secure.ts";
import { eventually, origin, RawClient } from "../support/upstream.ts";

const GET = "GET / HTTP/1.1\r\nHost: app\r\n\r\n";
const KEY = "client/default/p";

/** The parts of one plain route, whose socket has a policy. */
function partsWith(
  settings: Partial<ClientPart>,
  stable: readonly number[],
  address = "127.0.0.1",
): Part[] {
  const policy: ClientPart = { type: "client", key: KEY, ...settings };
  const withPolicy = (part: SocketPart): SocketPart => ({
    ...part,
    address,
    client: KEY,
    listeners: part.listeners.map((one) => ({ ...one, client: KEY })),
  });
  const parts = oneRoute({ stable });
  return [...parts.map((part) => (part.type === "socket" ? withPolicy(part) : part)), policy];
}

async function gatewayWith(
  settings: Partial<ClientPart>,
  stable: readonly number[],
  options: Partial<GatewayOptions> = {},
): Promise<TestGateway> {
  return testGateway({ parts: partsWith(settings, stable), ...options });
}

describe("PROXY protocol", () => {
  const V1 = "PROXY TCP4 192.0.2.1 198.51.100.2 56324 8443\r\n";
  const V1_IPV6 = "PROXY TCP6 2001:db8::1 2001:db8::2 56324 8443\r\n";
  const V2 = Buffer.concat([
    Buffer.from("\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x13", "latin1"),
    Buffer.from([192, 0, 2, 1, 198, 51, 100, 2, 0xdc, 0x04, 0x20, 0xfb]),
    Buffer.from([0x03, 0, 4, 1, 2, 3, 4]),
  ]).toString("latin1");
  const LOCAL = "\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";

  const HEARD: readonly [name: string, header: string, address: string, port: string][] = [
    ["version 1", V1, "192.0.2.1", "8443"],
    ["version 1 with IPv6", V1_IPV6, "2001:db8::1", "8443"],
    ["version 2 with extensions", V2, "192.0.2.1", "8443"],
  ];

  for (const [name, header, address, port] of HEARD) {
    test(`${name}: what the proxy says of the client goes upstream`, async () => {
      await using upstream = await origin();
      await using gateway = await gatewayWith({ proxyProtocol: "required" }, [upstream.port]);
      using client = new RawClient(gateway.port);
      client.send(header + GET);
      assert.match(await client.responses(1), /^HTTP\/1\.1 200/);
      client.send(GET);
      await client.responses(2);
      for (const { headers } of upstream.requests) {
        assert.equal(headers["x-forwarded-for"], address);
        assert.equal(headers["x-forwarded-port"], port);
      }
    });

    test(`${name}: byte by byte`, async () => {
      await using upstream = await origin();
      await using gateway = await gatewayWith({ proxyProtocol: "required" }, [upstream.port]);
      const socket = connect({ port: gateway.port, host: "127.0.0.1", noDelay: true });
      await once(socket, "connect");
      for (const byte of Buffer.from(header + GET, "latin1")) {
        await new Promise((resolve) => socket.write(Buffer.from([byte]), resolve));
      }
      const [answer] = (await once(socket, "data")) as [Buffer];
      assert.match(answer.toString(), /^HTTP\/1\.1 200/);
      assert.equal(upstream.requests[0]?.headers["x-forwarded-for"], address);
      socket.destroy();
    });
  }

  test("a proxy that speaks for itself is the client", async () => {
    await using upstream = await origin();
    await using gateway = await gatewayWith({ proxyProtocol: "required" }, [upstream.port]);
    using client = new RawClient(gateway.port);
    client.send(LOCAL + GET);
    assert.match(await client.responses(1), /^HTTP\/1\.1 200/);
    assert.equal(upstream.requests[0]?.headers["x-forwarded-for"], "127.0.0.1");
  });

  const CLOSED: readonly [name: string, text: string][] = [
    ["none", GET],
    ["a wrong one", "PROXY TCP4 192.0.2.1 198.51.100.2 99999 1\r\n" + GET],
    ["a second one", V1 + V1 + GET],
  ];

  for (const [name, text] of CLOSED) {
    test(`required, and ${name}: nothing reaches a backend`, async () => {
      await using upstream = await origin();
      await using gateway = await gatewayWith({ proxyProtocol: "required" }, [upstream.port]);
      using client = new RawClient(gateway.port);
      client.send(text);
      await client.until(({ ended }) => ended);
      assert.doesNotMatch(client.received, /^HTTP\/1\.1 200/);
      assert.equal(upstream.requests.length, 0);
    });
  }

  test("optional: with and without", async () => {
    await using upstream = await origin();
    await using gateway = await gatewayWith({ proxyProtocol: "optional" }, [upstream.port]);
    for (const [text, address] of [
      [V1 + GET, "192.0.2.1"],
      [GET, "127.0.0.1"],
    ] as const) {
      using client = new RawClient(gateway.port);
      client.send(text);
      assert.match(await client.responses(1), /^HTTP\/1\.1 200/);
      assert.equal(upstream.requests.at(-1)?.headers["x-forwarded-for"], address);
    }
  });

  test("a header that does not come is not waited for for ever", async () => {
    await using upstream = await origin();
    const timeouts = { arrivalMs: 100 };
    await using gateway = await gatewayWith({ proxyProtocol: "required" }, [upstream.port], {
      timeouts,
    });
    using client = new RawClient(gateway.port);
    client.send("PROXY TCP4 ");
    await client.until(({ ended }) => ended);
    assert.deepEqual(gateway.refused(), { proxy_header_timeout: 1 });
  });

  test("before TLS", async () => {
    await using upstream = await origin();
    const certificates = { own: SERVED[0] as (typeof SERVED)[number] };
    const client: ClientPart = { type: "client", key: KEY, proxyProtocol: "required" };
    const parts = secureParts({
      listeners: [{ hostname: "", certificates: ["own"] }],
      certificates,
      route: { stable: [upstream.port] },
      client,
    });
    await using gateway = await testGateway({ parts, credentials: privateKeys(certificates) });
    const plain = connect(gateway.port, "127.0.0.1");
    await once(plain, "connect");
    plain.write(V2, "latin1");
    const secure = connectTls({ socket: plain, rejectUnauthorized: false });
    await once(secure, "secureConnect");
    assert.match(await ask(secure, "app"), /^HTTP\/1\.1 200/);
    const headers = upstream.requests[0]?.headers;
    assert.equal(headers?.["x-forwarded-for"], "192.0.2.1");
    assert.equal(headers?.["x-forwarded-proto"], "https");
    secure.destroy();
  });
});

describe("limits of connections", () => {
  test("are exact over workers, and free again when a connection goes", async () => {
    await using upstream = await origin();
    const memory = allocateSharedMemory(2);
    const settings = { connectionLimit: { value: 3, closeDelayMs: 0 } };
    await using first = await gatewayWith(settings, [upstream.port], { memory, worker: 0 });
    await using second = await gatewayWith(settings, [upstream.port], { memory, worker: 1 });
    const open: RawClient[] = [];
    for (const gateway of [first, second, first]) {
      const client = new RawClient(gateway.port);
      open.push(client);
      client.send(GET);
      assert.match(await client.responses(1), /^HTTP\/1\.1 200/);
    }
    for (const gateway of [first, second]) {
      using client = new RawClient(gateway.port);
      await client.until(({ ended }) => ended);
      assert.equal(client.received, "");
    }
    assert.deepEqual(first.refused(), { limit: 2 });
    open.shift()?.[Symbol.dispose]();
    await eventually(() => first.plane.connections === 1);
    using again = new RawClient(second.port);
    again.send(GET);
    assert.match(await again.responses(1), /^HTTP\/1\.1 200/);
    for (const client of open) client[Symbol.dispose]();
  });

  test("hold where a connection is lost to a bug as it begins to speak HTTP/2", async () => {
    await using upstream = await origin();
    const bugs: unknown[] = [];
    const onBug = (error: unknown): void => void bugs.push(error);
    const broken = {
      get maxConcurrentStreams(): number {
        throw new Error("a bug");
      },
    };
    const settings = { connectionLimit: { value: 1, closeDelayMs: 0 }, http2: broken };
    await using gateway = await gatewayWith(settings, [upstream.port], { onBug });
    for (let count = 1; count <= 2; count++) {
      using http2 = new RawClient(gateway.port);
      http2.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
      await http2.until(({ ended }) => ended);
      assert.equal(bugs.length, count);
      assert.equal(gateway.plane.connections, 0);
      using client = new RawClient(gateway.port);
      client.send(GET.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n"));
      assert.match(await client.responses(1), /^HTTP\/1\.1 200/);
      client.socket.end();
      await eventually(() => gateway.plane.connections === 0);
    }
  });

  test("one too many is held for a while where the policy says so", async () => {
    await using upstream = await origin();
    const settings = { connectionLimit: { value: 1, closeDelayMs: 150 } };
    await using gateway = await gatewayWith(settings, [upstream.port]);
    using first = new RawClient(gateway.port);
    first.send(GET);
    await first.responses(1);
    const startedMs = performance.now();
    using second = new RawClient(gateway.port);
    await second.until(({ ended }) => ended);
    assert.ok(performance.now() - startedMs >= 140);
  });
});

describe("timeouts and keepalive", () => {
  test("an idle connection is closed after its listener's time", async () => {
    await using upstream = await origin();
    await using gateway = await gatewayWith({ timeouts: { idleMs: 100 } }, [upstream.port]);
    using client = new RawClient(gateway.port);
    client.send(GET);
    await client.responses(1);
    const startedMs = performance.now();
    await client.until(({ ended }) => ended);
    const tookMs = performance.now() - startedMs;
    assert.ok(tookMs >= 80 && tookMs < 5000, `${tookMs} ms`);
  });

  test("a request must have come whole in its time, however busily it comes", async () => {
    await using upstream = await origin();
    const settings = { timeouts: { requestReceivedMs: 300 } };
    await using gateway = await gatewayWith(settings, [upstream.port]);
    using client = new RawClient(gateway.port);
    client.send("POST / HTTP/1.1\r\nHost: app\r\nContent-Length: 100000\r\n\r\n");
    const startedMs = performance.now();
    while (!client.received.includes("HTTP/1.1 408") && performance.now() - startedMs < 5000) {
      client.send("x");
      await new Promise((resolve) => setImmediate(resolve));
    }
    const tookMs = performance.now() - startedMs;
    assert.match(client.received, /^HTTP\/1\.1 408/);
    assert.ok(tookMs >= 250, `${tookMs} ms`);
  });

  test("and its head with it", async () => {
    await using gateway = await gatewayWith({ timeouts: { requestReceivedMs: 100 } }, []);
    using client = new RawClient(gateway.port);
    client.send("GET / HTTP/1.1\r\n");
    assert.match(await client.responses(1), /^HTTP\/1\.1 408/);
  });

  test("so must one over HTTP/2", async () => {
    await using upstream = await origin();
    const settings = { timeouts: { requestReceivedMs: 300 } };
    await using gateway = await gatewayWith(settings, [upstream.port]);
    const session = connectHttp2(gateway.url);
    session.on("error", () => {});
    const stream = session.request({ ":method": "POST", ":path": "/", ":authority": "app" });
    stream.on("error", () => {});
    let status = 0;
    stream.on("response", (headers) => (status = Number(headers[":status"])));
    const startedMs = performance.now();
    while (status === 0 && performance.now() - startedMs < 5000) {
      if (!stream.destroyed) stream.write("x");
      await new Promise((resolve) => setImmediate(resolve));
    }
    assert.equal(status, 408);
    assert.ok(performance.now() - startedMs >= 250);
    session.destroy();
  });

  const noSs = ((): string | false => {
    try {
      execFileSync("ss", ["-V"], { stdio: "ignore" });
      return false;
    } catch {
      return "ss is not there";
    }
  })();

  test("the kernel asks for the peer as the policy says", { skip: noSs }, async () => {
    await using upstream = await origin();
    const settings = { tcpKeepalive: { idleMs: 77_000 } };
    await using gateway = await gatewayWith(settings, [upstream.port]);
    using client = new RawClient(gateway.port);
    client.send(GET);
    await client.responses(1);
    const filter = `sport = :${gateway.port}`;
    const told = execFileSync("ss", ["-tnoH", "state", "established", filter]).toString();
    assert.match(told, /keepalive,(?:1min1[0-9]|7[0-7])/);
  });
});

describe("HTTP/2 limits", () => {
  test("are what the client is told", async () => {
    await using upstream = await origin();
    const http2 = {
      maxConcurrentStreams: 7,
      initialStreamWindowBytes: 99_000,
      initialConnectionWindowBytes: 500_000,
    };
    await using gateway = await gatewayWith({ http2 }, [upstream.port]);
    const session: ClientHttp2Session = connectHttp2(gateway.url);
    await once(session, "remoteSettings");
    assert.equal(session.remoteSettings.maxConcurrentStreams, 7);
    assert.equal(session.remoteSettings.initialWindowSize, 99_000);
    await eventually(() => (session.state.remoteWindowSize ?? 0) >= 500_000);
    session.destroy();
  });
});

const hasIPv6 = Object.values(networkInterfaces())
  .flat()
  .some((one) => one?.address === "::1");

describe("IPv6", { skip: hasIPv6 ? false : "this host has no ::1" }, () => {
  async function gatewayOn(address: string, port: number): Promise<TestGateway> {
    return testGateway({ parts: partsWith({}, [port], address) });
  }

  test("clients of both families of one socket have their own spelling", async () => {
    await using upstream = await origin();
    await using gateway = await gatewayOn("::", upstream.port);
    for (const host of ["127.0.0.1", "::1"]) {
      const socket = connect(gateway.port, host);
      const authority = isIPv6(host) ? `[${host}]:${gateway.port}` : `${host}:${gateway.port}`;
      socket.write(`GET / HTTP/1.1\r\nHost: ${authority}\r\n\r\n`);
      const [answer] = (await once(socket, "data")) as [Buffer];
      assert.match(answer.toString(), /^HTTP\/1\.1 200/);
      const headers = upstream.requests.at(-1)?.headers;
      assert.equal(headers?.["x-forwarded-for"], host);
      assert.equal(headers?.["x-forwarded-host"], authority);
      socket.destroy();
    }
  });

  test("a request without a host names this end in brackets", async () => {
    await using upstream = await origin();
    await using gateway = await gatewayOn("::1", upstream.port);
    const socket = connect(gateway.port, "::1");
    socket.write("GET / HTTP/1.0\r\n\r\n");
    const [answer] = (await once(socket, "data")) as [Buffer];
    assert.match(answer.toString(), /^HTTP\/1\.1 200/);
    assert.equal(upstream.requests[0]?.headers.host, `[::1]:${gateway.port}`);
    socket.destroy();
  });

  test("a zone in a host is refused", async () => {
    await using upstream = await origin();
    await using gateway = await gatewayOn("::1", upstream.port);
    const socket = connect(gateway.port, "::1");
    socket.write("GET / HTTP/1.1\r\nHost: [fe80::1%25eth0]\r\n\r\n");
    const [answer] = (await once(socket, "data")) as [Buffer];
    assert.match(answer.toString(), /^HTTP\/1\.1 400/);
    socket.destroy();
  });

  test("endpoints have addresses of IPv6", async () => {
    const server = createServer((socket) => {
      socket.on("data", () => socket.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nv6"));
    });
    server.listen(0, "::1");
    await once(server, "listening");
    const { port } = server.address() as { port: number };
    const endpoints = [{ host: "::1", port }];
    const parts = oneRoute({ stable: [], pool: { endpoints } });
    await using gateway = await testGateway({ parts });
    using client = new RawClient(gateway.port);
    client.send(GET);
    assert.match(await client.responses(1), /^HTTP\/1\.1 200 .*v6$/s);
    server.close();
  });
});

test("endpoints may be Unix sockets", async () => {
  const directory = mkdtempSync(path.join(tmpdir(), "sluice-unix-"));
  const unixPath = path.join(directory, `${randomBytes(4).toString("hex")}.sock`);
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on("data", () => socket.write("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nunix"));
  });
  server.listen(unixPath);
  await once(server, "listening");
  try {
    const parts = oneRoute({ stable: [], pool: { endpoints: [{ unixPath }] } });
    await using gateway = await testGateway({ parts });
    using client = new RawClient(gateway.port);
    for (let count = 1; count <= 3; count++) {
      client.send(GET);
      assert.match(await client.responses(count), /unix$/);
    }
    assert.equal(sockets.size, 1);
    assert.ok(gateway.plane.port(SOCKET_KEY));
  } finally {
    for (const socket of sockets) socket.destroy();
    server.close();
    rmSync(directory, { recursive: true });
  }
});
