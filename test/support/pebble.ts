/**
 * Pebble, Let's Encrypt's ACME server for tests: a CA in a process of its own, which resolves every
 * name to 127.0.0.1 and asks for challenges at a port of the test's choice.
 */
import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { createSocket } from "node:dgram";
import { once } from "node:events";
import { type AddressInfo, createServer } from "node:net";
import { Agent, request } from "undici";
import { TestAuthority } from "./certificates.ts";
import { eventually, freePort } from "./sluice.ts";

export interface PebbleOptions {
  readonly path: string;
  /** Where challenges are asked for. */
  readonly httpPort: number;
  /** Life of certificates. */
  readonly validSeconds?: number;
  readonly env?: Readonly<Record<string, string>>;
  /** Key ids and MAC keys (base64url): accounts must be bound to one of them. */
  readonly externalAccounts?: Readonly<Record<string, string>>;
}

export class Pebble implements AsyncDisposable {
  /** Directory URL. */
  readonly url: string;
  /** In base64, as `spec.acme.caBundle` takes it. */
  readonly caBundle: string;
  #child: ChildProcess | undefined;
  readonly #dns: Names;
  readonly #authority = new TestAuthority("Pebble's own");
  readonly #management: string;
  readonly #agent: Agent;
  readonly #start: () => ChildProcess;
  #output = "";

  private constructor(
    options: PebbleOptions,
    places: { readonly port: number; readonly managementPort: number; readonly dns: Names },
  ) {
    const { port, managementPort, dns } = places;
    const own = this.#authority.issue({ names: "DNS:localhost,IP:127.0.0.1" });
    this.url = `https://127.0.0.1:${port}/dir`;
    this.#management = `https://127.0.0.1:${managementPort}`;
    this.caBundle = Buffer.from(this.#authority.certificate).toString("base64");
    this.#agent = new Agent({ connect: { ca: this.#authority.certificate } });
    this.#dns = dns;
    const { validSeconds = 86_400, externalAccounts } = options;
    const config = this.#authority.write(
      "pebble.json",
      JSON.stringify({
        pebble: {
          listenAddress: `127.0.0.1:${port}`,
          managementListenAddress: `127.0.0.1:${managementPort}`,
          certificate: this.#authority.write("pebble.crt", own.certificate),
          privateKey: this.#authority.write("pebble.key", own.privateKey),
          httpPort: options.httpPort,
          tlsPort: 1,
          retryAfter: { authz: 1, order: 1 },
          keyAlgorithm: "ecdsa",
          profiles: { default: { description: "for tests", validityPeriod: validSeconds } },
          ...(externalAccounts !== undefined && {
            externalAccountBindingRequired: true,
            externalAccountMACKeys: externalAccounts,
          }),
        },
      }),
    );
    const args = ["-config", config, "-dnsserver", `127.0.0.1:${dns.port}`];
    const env = { ...process.env, PEBBLE_VA_NOSLEEP: "1", PEBBLE_AUTHZREUSE: "0", ...options.env };
    this.#start = () => spawn(options.path, args, { env, stdio: ["ignore", "pipe", "pipe"] });
  }

  static async start(options: PebbleOptions): Promise<Pebble> {
    const dns = await loopbackNames();
    const [port, managementPort] = [await freePort(), await freePort()];
    const pebble = new Pebble(options, { port, managementPort, dns });
    await pebble.resume();
    return pebble;
  }

  /** What it wrote: every request of its clients. */
  get output(): string {
    return this.#output;
  }

  /**
   * Orders that it has taken. Requests for them say less: of good nonces it refuses one in twenty, so
   * that clients are seen to ask again.
   */
  get orders(): number {
    return this.#output.match(/Added order/g)?.length ?? 0;
  }

  /** Starts it again, as new: it forgets every account. */
  async resume(): Promise<void> {
    const child = this.#start();
    this.#child = child;
    for (const stream of [child.stdout, child.stderr]) {
      stream?.on("data", (text) => (this.#output += String(text)));
    }
    await eventually("pebble answers", async () => {
      assert.equal(child.exitCode, null, this.#output);
      return (await this.root()) !== "";
    });
  }

  /** PEM of the root that vouches for its certificates. */
  async root(): Promise<string> {
    const answer = await request(`${this.#management}/roots/0`, { dispatcher: this.#agent });
    return await answer.body.text();
  }

  async stop(): Promise<void> {
    const child = this.#child;
    this.#child = undefined;
    if (child === undefined || child.exitCode !== null) return;
    const exit = once(child, "exit");
    child.kill("SIGKILL");
    await exit;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
    this.#dns[Symbol.dispose]();
    await this.#agent.destroy();
    this.#authority[Symbol.dispose]();
  }
}

const TYPE_A = 1;

/** A DNS server to which every name is 127.0.0.1, and nothing else is known of any. */
async function loopbackNames(): Promise<Names> {
  // Over TCP a message has its length before it; these arrive in one read.
  const streams = createServer((socket) => {
    socket.on("error", () => {});
    socket.on("data", (bytes) => {
      const reply = replyTo(bytes.subarray(2));
      socket.end(Buffer.concat([Buffer.from([0, reply.length]), reply]));
    });
  });
  // Both at one port: the one over UDP, where few are taken, comes second.
  streams.listen(0, "127.0.0.1");
  await once(streams, "listening");
  const { port } = streams.address() as AddressInfo;
  const datagrams = createSocket("udp4");
  datagrams.on("message", (query, from) => {
    datagrams.send(replyTo(query), from.port, from.address);
  });
  datagrams.bind(port, "127.0.0.1");
  await once(datagrams, "listening").catch((error: unknown) => {
    streams.close();
    throw error;
  });
  return {
    port,
    [Symbol.dispose]: () => {
      datagrams.close();
      streams.close();
    },
  };
}

interface Names extends Disposable {
  readonly port: number;
}

function replyTo(query: Buffer): Buffer {
  let end = 12;
  while (end < query.length && query[end] !== 0) end += (query[end] as number) + 1;
  end += 5;
  const isA = query.readUInt16BE(end - 4) === TYPE_A;
  const counts = [0, 1, 0, isA ? 1 : 0, 0, 0, 0, 0];
  const head = Buffer.from([...query.subarray(0, 2), 0x81, 0x80, ...counts]);
  // A pointer to the name in the question, A, IN, a minute, four bytes.
  const answer = [0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 127, 0, 0, 1];
  return Buffer.concat([head, query.subarray(12, end), Buffer.from(isA ? answer : [])]);
}
