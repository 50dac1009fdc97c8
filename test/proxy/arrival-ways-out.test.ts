/**
 * However a connection ends before a request can be asked, it is not counted any more: in the header of
 * the PROXY protocol, in a ClientHello, in the handshake of TLS.
 */
import { once } from "node:events";
import { createServer, type AddressInfo, type Socket } from "node:net";
import { after, before, describe, test } from "node:test";
import { connect } from "node:tls";
import { SERVED, type TestCertificate } from "../support/certificates.ts";
import {
  Backend,
  BEFORE,
  ENDS,
  GET,
  HOST,
  LIMIT,
  PROXY_V1,
  PROXY_V2,
  PROXY_V2_SIGNATURE,
  type Way,
  type World,
} from "../support/ways-out.ts";

const [OWN, STRANGER] = SERVED as [TestCertificate, TestCertificate];
const NONE = Buffer.alloc(0);
const MUTUAL = {
  tls: { clientValidation: { authorities: "authorities/own", mode: "required" } },
  own: { cert: OWN.certificate, key: OWN.privateKey },
} as const;

/** The first flight of a client of TLS, as node:tls says it. */
async function realHello(): Promise<Buffer> {
  const server = createServer();
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  const client = connect({ port, host: "127.0.0.1", servername: HOST });
  client.on("error", () => {});
  const [socket] = (await once(server, "connection")) as [Socket];
  const [hello] = (await once(socket, "data")) as [Buffer];
  client.destroy();
  socket.destroy();
  server.close();
  return hello;
}

/** Of what comes before a request where there is TLS. */
function shakingWays(hello: Buffer): readonly Way[] {
  const half = hello.subarray(0, hello.length >> 1);
  const BEGUN: readonly [name: string, first: Buffer, answered: boolean][] = [
    ["before a byte", NONE, false],
    ["in its ClientHello", half, false],
    ["in its handshake", hello, true],
  ];
  const begin = async (world: World, first: Buffer, answered: boolean): Promise<Socket> => {
    const socket = await world.dial(first);
    if (answered) await once(socket, "data");
    return socket;
  };
  const hasEnded = async (socket: Socket): Promise<void> => {
    socket.resume();
    // Not `once`, which an error rejects.
    if (!socket.closed) await new Promise<unknown>((resolve) => socket.once("close", resolve));
  };
  return [
    ...BEGUN.flatMap(([where, first, answered]): Way[] => [
      ...ENDS.filter(([name]) => name !== "closed below TLS").map(([name, end]) => ({
        name: `${name} ${where}`,
        take: async (world: World) => {
          const socket = await begin(world, first, answered);
          end(socket, socket);
        },
      })),
      {
        name: `nothing more ${where}`,
        timeouts: { arrivalMs: 300 },
        take: async (world) => hasEnded(await begin(world, first, answered)),
      },
      {
        name: `a worker that stops, ${where}`,
        drains: true,
        take: async (world) => {
          await begin(world, first, answered);
          await world.gateway.plane.drain(5000);
        },
      },
    ]),
    {
      name: "a bad ClientHello",
      take: async (world) => hasEnded(await world.dial("\x16\x03\x01\x00\x05hello")),
    },
    { name: "plain HTTP", take: async (world) => hasEnded(await world.dial(GET)) },
    {
      name: "a bad record in the handshake",
      take: async (world) => {
        const socket = await begin(world, hello, true);
        socket.write(Buffer.from([0x16, 3, 3, 0, 5, 0xff, 0, 0, 1, 0]));
        await hasEnded(socket);
      },
    },
    {
      name: "a name that nobody serves",
      take: async (world) => hasEnded(await world.shaking({ servername: "x.example" })),
    },
    {
      name: "no protocol in common",
      take: async (world) => hasEnded(await world.shaking({ ALPNProtocols: ["spdy/3"] })),
    },
    ...(["TLSv1.2", "TLSv1.3"] as const).flatMap((version): Way[] => {
      const versions = { minVersion: version, maxVersion: version };
      const stranger = { cert: STRANGER.certificate, key: STRANGER.privateKey };
      return [
        {
          ...MUTUAL,
          name: `no client certificate, ${version}`,
          take: async (world) => hasEnded(await world.shaking(versions)),
        },
        {
          ...MUTUAL,
          name: `a stranger's certificate, ${version}`,
          take: async (world) => hasEnded(await world.shaking({ ...versions, ...stranger })),
        },
      ];
    }),
  ];
}

/** Of the header of the PROXY protocol. */
const HEADERS: readonly Way[] = [
  ...(
    [
      ["version 1", PROXY_V1.subarray(0, 20)],
      ["version 2", PROXY_V2.subarray(0, 20)],
    ] as const
  ).flatMap(([version, half]): Way[] => [
    ...ENDS.filter(([name]) => name !== "closed below TLS").map(([name, end]) => ({
      name: `${name} in a header of ${version}`,
      take: async (world: World) => {
        const socket = await world.dial("", half);
        end(socket, socket);
      },
    })),
    {
      name: `half a header of ${version}`,
      timeouts: { arrivalMs: 300 },
      take: (world) => world.dial("", half),
    },
    {
      name: `a worker that stops, in a header of ${version}`,
      drains: true,
      take: async (world) => {
        await world.dial("", half);
        await world.gateway.plane.drain(5000);
      },
    },
  ]),
  {
    name: "a bad header of version 1",
    take: (world) => world.dial("", Buffer.from("PROXY TCP4 192.0.2.1 198.51.100.2 99999 1\r\n")),
  },
  {
    name: "a bad header of version 2",
    take: (world) =>
      world.dial("", Buffer.concat([PROXY_V2_SIGNATURE, Buffer.from([0x31, 0, 0, 0])])),
  },
  { name: "no header", take: (world) => world.dial("", Buffer.from(GET)) },
];

const backend = new Backend();
before(() => backend.listen());
after(() => backend[Symbol.asyncDispose]());

for (const stands of BEFORE) {
  describe(stands.name, () => {
    for (const way of stands.header.length > 0 ? HEADERS : []) {
      test(way.name, LIMIT, () => backend.go(way, stands));
    }
    if (!stands.secure) return;
    test("handshakes", async (t) => {
      for (const way of shakingWays(await realHello())) {
        await t.test(way.name, LIMIT, () => backend.go(way, stands));
      }
    });
  });
}
