/** Connections that end before a request: each has its reason, in the metrics and on the log. */
import assert from "node:assert/strict";
import { connect } from "node:net";
import { describe, test } from "node:test";
import { connect as connectTls, type ConnectionOptions } from "node:tls";
import type { ClientPart, ListenerTls, Part } from "../../src/compile/program.ts";
import { Refusals } from "../../src/proxy/refusal.ts";
import { MetricRecorder, type Refusal } from "../../src/shared/metrics.ts";
import { allocateSharedMemory } from "../../src/shared/memory.ts";
import { SERVED, type TestCertificate } from "../support/certificates.ts";
import { oneRoute, testGateway } from "../support/gateway.ts";
import { privateKeys, secureParts } from "../support/secure.ts";
import { eventually, RawClient } from "../support/upstream.ts";

const GET = "GET / HTTP/1.1\r\nHost: app\r\n\r\n";
const OWN = SERVED[0] as TestCertificate;
/** What a test waits out. */
const SHORT_MS = 300;

function plainParts(settings: Partial<ClientPart>): Part[] {
  const policy: ClientPart = { type: "client", key: "client/default/p", ...settings };
  const parts = oneRoute({ stable: [] });
  const withPolicy = parts.map((part) =>
    part.type === "socket" ? { ...part, client: policy.key } : part,
  );
  return [...withPolicy, policy];
}

function tlsParts(hostname: string, tls: Partial<ListenerTls> = {}): Part[] {
  const authorities = {
    type: "authorities",
    key: "authorities/own",
    pem: OWN.certificate,
  } as const;
  return secureParts({
    listeners: [{ hostname, certificates: ["own"], tls }],
    certificates: { own: OWN },
    route: { stable: [] },
    more: [authorities],
  });
}

/** Says `text`, if there is any, and nothing more. */
function says(text: string): (port: number) => Disposable {
  return (port) => {
    const client = new RawClient(port);
    if (text !== "") client.send(text);
    return client;
  };
}

function shakes(options: ConnectionOptions = {}): (port: number) => Disposable {
  return (port) => {
    const about = { port, host: "127.0.0.1", rejectUnauthorized: false };
    const socket = connectTls({ ...about, ...options });
    socket.on("error", () => {});
    return { [Symbol.dispose]: () => void socket.destroy() };
  };
}

const REQUIRED = {
  clientValidation: { authorities: "authorities/own", mode: "required" },
} as const;
const WITH_HEADER = plainParts({ proxyProtocol: "required" });
const ODD = "PROXY TCP4 192.0.2.1 198.51.100.2 99999 1\r\n";

const CASES: readonly [
  name: string,
  reason: Refusal,
  parts: readonly Part[],
  client: (port: number) => Disposable,
][] = [
  ["no PROXY header", "proxy_header", WITH_HEADER, says(GET)],
  ["a wrong PROXY header", "proxy_header", WITH_HEADER, says(ODD)],
  ["half a PROXY header", "proxy_header_timeout", WITH_HEADER, says("PROXY TCP4 ")],
  ["no byte of a PROXY header", "proxy_header_timeout", WITH_HEADER, says("")],
  ["plain HTTP to a port of TLS", "client_hello", tlsParts(""), says(GET)],
  ["no byte to a port of TLS", "handshake_timeout", tlsParts(""), says("")],
  [
    "a name that nobody has",
    "no_listener",
    tlsParts("a.example"),
    shakes({ servername: "b.example" }),
  ],
  ["nothing in common", "handshake", tlsParts(""), shakes({ ALPNProtocols: ["spdy/3"] })],
  ["no certificate", "client_certificate", tlsParts("", REQUIRED), shakes()],
];

describe("what is refused", () => {
  for (const [name, reason, parts, client] of CASES) {
    test(`${name}: ${reason}`, async () => {
      const lines: string[] = [];
      await using gateway = await testGateway({
        parts,
        credentials: privateKeys({ own: OWN }),
        timeouts: { arrivalMs: SHORT_MS },
        onRefused: (line) => lines.push(line),
      });
      using clients = new DisposableStack();
      clients.use(client(gateway.port));
      await eventually(() => lines.length === 1);
      const about = `^Refused a connection to 127\\.0\\.0\\.1:0, from 127\\.0\\.0\\.1 \\(${reason}\\): \\w`;
      assert.match(lines[0] ?? "", new RegExp(about));
      assert.deepEqual(gateway.refused(), { [reason]: 1 });
    });
  }

  test("more connections than the policy allows: limit", async () => {
    const lines: string[] = [];
    const parts = plainParts({ connectionLimit: { value: 1, closeDelayMs: 0 } });
    await using gateway = await testGateway({ parts, onRefused: (line) => lines.push(line) });
    using first = new RawClient(gateway.port);
    first.send(GET);
    await first.responses(1);
    using second = new RawClient(gateway.port);
    await second.until(({ ended, closed }) => ended || closed);
    assert.match(lines.join(""), /\(limit\): there are as many/);
    assert.deepEqual(gateway.refused(), { limit: 1 });
  });

  test("who is behind the proxy that spoke for it", async () => {
    const lines: string[] = [];
    const client: ClientPart = { type: "client", key: "client/p", proxyProtocol: "required" };
    const parts = secureParts({
      listeners: [{ hostname: "", certificates: ["own"] }],
      certificates: { own: OWN },
      route: { stable: [] },
      client,
    });
    const credentials = privateKeys({ own: OWN });
    const onRefused = (line: string): void => void lines.push(line);
    await using gateway = await testGateway({ parts, credentials, onRefused });
    using other = new RawClient(gateway.port);
    other.send(`PROXY TCP4 192.0.2.1 198.51.100.2 56324 8443\r\n${GET}`);
    await eventually(() => lines.length === 1);
    assert.match(lines[0] ?? "", /from 192\.0\.2\.1 \(client_hello\)/);
  });

  test("a client that goes by itself, as one that looks whether a port is open, is not", async () => {
    const lines: string[] = [];
    const onRefused = (line: string): void => void lines.push(line);
    await using gateway = await testGateway({ parts: WITH_HEADER, onRefused });
    for (let count = 1; count <= 3; count++) {
      const socket = connect(gateway.port, "127.0.0.1", () => socket.destroy());
      await eventually(() => gateway.worker("connections") === count);
      await eventually(() => gateway.plane.connections === 0);
    }
    assert.deepEqual([lines, gateway.refused()], [[], {}]);
  });
});

test("addresses are spelled as people spell them", () => {
  const lines: string[] = [];
  const metrics = new MetricRecorder(allocateSharedMemory(1).metrics, 0);
  const refusals = new Refusals({ metrics, tell: (line) => lines.push(line.replace(/ \(.*/, "")) });
  for (const [place, client] of [
    ["socket/:::443", "::ffff:192.0.2.1"],
    ["socket/2001:db8::1:443", "2001:db8::2"],
    ["socket/unix:/run/s.sock:80", "unix:"],
    ["", "192.0.2.1"],
  ] as const) {
    refusals.note("handshake", { place, client });
  }
  assert.deepEqual(lines, [
    "Refused a connection to [::]:443, from 192.0.2.1",
    "Refused a connection to [2001:db8::1]:443, from 2001:db8::2",
    "Refused a connection to unix:/run/s.sock:80, from unix:",
    "Refused a connection to a socket that is gone, from 192.0.2.1",
  ]);
});

test("the log hears of the first at once, and of those that follow once a minute", () => {
  const lines: string[] = [];
  const metrics = new MetricRecorder(allocateSharedMemory(1).metrics, 0);
  const refusals = new Refusals({ metrics, tell: (line) => lines.push(line.replace(/: .*/, "")) });
  const from = (client: string) => ({ place: "socket/0.0.0.0:443", client });
  const told = (): readonly string[] => lines.splice(0);
  refusals.note("handshake", from("192.0.2.1"));
  assert.deepEqual(told(), ["Refused a connection to 0.0.0.0:443, from 192.0.2.1 (handshake)"]);
  for (let count = 2; count <= 200; count++) refusals.note("handshake", from(`192.0.2.${count}`));
  refusals.note("proxy_header", from("192.0.2.9"));
  assert.deepEqual(told(), ["Refused a connection to 0.0.0.0:443, from 192.0.2.9 (proxy_header)"]);
  const startMs = performance.now();
  refusals.sweep(startMs + 59_000);
  assert.deepEqual(told(), []);
  refusals.sweep(startMs + 60_001);
  assert.deepEqual(told(), [
    "Refused 199 more connections to 0.0.0.0:443, the last from 192.0.2.200 (handshake)",
  ]);
  // A minute without any, and the next one is a first one.
  refusals.sweep(startMs + 120_002);
  refusals.note("handshake", from("192.0.2.3"));
  assert.deepEqual(told(), ["Refused a connection to 0.0.0.0:443, from 192.0.2.3 (handshake)"]);
  refusals.note("handshake", from("192.0.2.4"));
  refusals.sweep(Infinity);
  assert.deepEqual(told(), [
    "Refused 1 more connection to 0.0.0.0:443, the last from 192.0.2.4 (handshake)",
  ]);
});
