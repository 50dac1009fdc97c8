/** What `sluice up` says that it serves: listeners that take requests, and why others do not. */
import assert from "node:assert/strict";
import { rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { test } from "node:test";
import { servedText } from "../../src/cli/served.ts";
import type { Resource } from "../../src/resource/resource.ts";
import { eventually, freePort, Sluice } from "../support/sluice.ts";

interface GatewayParts {
  readonly className?: string;
  readonly addresses?: readonly object[];
  /** Port and what the Programmed condition says; undefined where there is none yet. */
  readonly listeners: readonly (readonly [port: number, problem: string | undefined])[];
  readonly generationSeen?: number;
}

function gateway(parts: GatewayParts): Resource {
  const { className = "sluice", addresses, listeners, generationSeen = 2 } = parts;
  const conditions = (problem: string | undefined) => [
    {
      type: "Programmed",
      status: problem === undefined ? "True" : "False",
      message: problem ?? "Listener is programmed",
      observedGeneration: generationSeen,
    },
  ];
  return {
    apiVersion: "gateway.networking.k8s.io/v1",
    kind: "Gateway",
    metadata: { name: "edge", namespace: "default", generation: 2 },
    spec: {
      gatewayClassName: className,
      ...(addresses === undefined ? {} : { addresses }),
      listeners: listeners.map(([port]) => ({ name: `on-${port}`, protocol: "HTTP", port })),
    },
    status: {
      listeners: listeners.map(([port, problem]) => ({
        name: `on-${port}`,
        conditions: conditions(problem),
      })),
    },
  } as unknown as Resource;
}

function gatewayClass(name: string, controllerName: string): Resource {
  return { kind: "GatewayClass", metadata: { name }, spec: { controllerName } } as never;
}

const CASES: readonly (readonly [string, GatewayParts, string])[] = [
  ["one port", { listeners: [[80, undefined]] }, "edge :80"],
  [
    "listeners that share a port",
    {
      listeners: [
        [80, undefined],
        [80, undefined],
      ],
    },
    "edge :80",
  ],
  [
    "a listener that is not programmed",
    {
      listeners: [
        [80, undefined],
        [443, "tls/cert.pem has no certificate in PEM"],
      ],
    },
    "edge :80; not edge :443 (tls/cert.pem has no certificate in PEM)",
  ],
  [
    "addresses",
    { addresses: [{ type: "IPAddress", value: "::1" }], listeners: [[80, undefined]] },
    "edge [::1]:80",
  ],
  [
    "a Unix socket",
    {
      addresses: [{ type: "sluice.dev/UnixSocket", value: "/run/edge.sock" }],
      listeners: [[80, undefined]],
    },
    "edge unix:/run/edge.sock",
  ],
  [
    "the class of another controller",
    { className: "nginx", listeners: [[80, undefined]] },
    `no listener; not edge (class "nginx" is not Sluice's)`,
  ],
  ["a class of ours", { className: "ours", listeners: [[80, undefined]] }, "edge :80"],
  [
    "a status from before an edit",
    { listeners: [[80, undefined]], generationSeen: 1 },
    "no listener; not edge :80 (waits)",
  ],
];

for (const [name, parts, says] of CASES) {
  test(`served: ${name}`, () => {
    const classes = [gatewayClass("ours", "sluice.dev/gateway-controller")];
    assert.equal(servedText([gateway(parts)], classes), says);
  });
}

test("served: nothing at all", () => assert.equal(servedText([], []), "no Gateway yet"));

test("sluice up says what it serves, and what not", async (context) => {
  const port = await freePort();
  const file = path.join(tmpdir(), `sluice-served-${port}.yaml`);
  context.after(() => rmSync(file, { force: true }));
  writeFileSync(
    file,
    `apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: { name: edge }
spec:
  gatewayClassName: sluice
  addresses: [{ value: 127.0.0.1 }]
  listeners:
    - { name: http, protocol: HTTP, port: ${port} }
    - { name: tcp, protocol: TCP, port: ${port + 1} }
`,
  );
  await using running = await Sluice.start({ workers: 1, files: [file] });
  await eventually("it says so", () => running.output.includes("Sluice serves"));
  assert.match(
    running.output,
    new RegExp(
      `Sluice serves: edge 127\\.0\\.0\\.1:${port}; not edge 127\\.0\\.0\\.1:${port + 1} \\(protocol TCP is not supported`,
    ),
  );
});
