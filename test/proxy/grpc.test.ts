/** gRPC through the gateway, with a client and a server of @grpc/grpc-js: all that a call can be. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import {
  Client,
  credentials,
  Metadata,
  Server,
  ServerCredentials,
  status,
  type ServiceDefinition,
  type ServiceError,
  type UntypedServiceImplementation,
  type handleBidiStreamingCall,
  type handleClientStreamingCall,
  type handleServerStreamingCall,
  type handleUnaryCall,
} from "@grpc/grpc-js";
import { SERVED, type TestCertificate } from "../support/certificates.ts";
import { STABLE, oneRoute, testGateway, type TestGateway } from "../support/gateway.ts";
import { Http2Client, http2Origin } from "../support/http2.ts";
import { privateKeys, secureParts } from "../support/secure.ts";
import { eventually, rawOrigin } from "../support/upstream.ts";
import { HEADERS } from "../../src/http2/frame.ts";
import type { Timeouts } from "../../src/proxy/plane.ts";
import { FramePeer, POST } from "../support/frames.ts";

const take = (bytes: Buffer): string => bytes.toString("utf8");
const give = (text: string): Buffer => Buffer.from(text, "utf8");
const CODECS = {
  requestSerialize: give,
  requestDeserialize: take,
  responseSerialize: give,
  responseDeserialize: take,
} as const;

function method(name: string, requestStream: boolean, responseStream: boolean) {
  return { path: `/test.Echo/${name}`, requestStream, responseStream, ...CODECS };
}

const SERVICE = {
  unary: method("Unary", false, false),
  collect: method("Collect", true, false),
  spread: method("Spread", false, true),
  converse: method("Converse", true, true),
} as const satisfies ServiceDefinition;

interface Backend extends AsyncDisposable {
  readonly port: number;
  /** Calls that were cancelled before they ended. */
  readonly cancelled: () => number;
}

async function backend(): Promise<Backend> {
  let cancelled = 0;
  const unary: handleUnaryCall<string, string> = (call, callback) => {
    call.on("cancelled", () => cancelled++);
    const text = call.request;
    if (text === "never") return;
    if (text.startsWith("fail:")) {
      const failure = { code: Number(text.slice(5)), details: "Grüße, 100 %" };
      callback(failure, null);
      return;
    }
    const trailer = new Metadata();
    trailer.set("x-trailer", "after");
    trailer.set("seen-te", String(call.metadata.get("te")[0] ?? ""));
    const header = new Metadata();
    header.set("x-header", "before");
    call.sendMetadata(header);
    callback(null, `${text}!`, trailer);
  };
  const collect: handleClientStreamingCall<string, string> = (call, callback) => {
    const all: string[] = [];
    call.on("data", (text: string) => all.push(text));
    call.on("end", () => callback(null, all.join("+")));
  };
  const spread: handleServerStreamingCall<string, string> = (call) => {
    call.on("cancelled", () => cancelled++);
    for (let part = 0; part < 3; part++) call.write(`${call.request}${part}`);
    if (call.request !== "open") call.end();
  };
  const converse: handleBidiStreamingCall<string, string> = (call) => {
    call.on("data", (text: string) => {
      if (text !== "quiet") call.write(`<${text}>`);
    });
    call.on("end", () => call.end());
  };
  const server = new Server();
  const handlers: UntypedServiceImplementation = { unary, collect, spread, converse };
  server.addService(SERVICE, handlers);
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync("127.0.0.1:0", ServerCredentials.createInsecure(), (error, bound) => {
      if (error === null) resolve(bound);
      else reject(error);
    });
  });
  return {
    port,
    cancelled: () => cancelled,
    async [Symbol.asyncDispose]() {
      server.forceShutdown();
    },
  };
}

class Caller extends Client implements Disposable {
  unary(text: string, options: { deadline?: number } = {}): Promise<Answer> {
    return new Promise((resolve) => {
      const { path } = SERVICE.unary;
      const call = this.makeUnaryRequest(
        path,
        give,
        take,
        text,
        new Metadata(),
        options,
        (error: ServiceError | null, value?: string) => {
          answer.error = error;
          answer.value = value;
        },
      );
      const answer: Answer = {
        error: null,
        value: undefined,
        header: undefined,
        trailer: undefined,
      };
      call.on("metadata", (metadata) => (answer.header = metadata));
      call.on("status", ({ metadata }) => {
        answer.trailer = metadata;
        resolve(answer);
      });
    });
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

interface Answer {
  error: ServiceError | null;
  value: string | undefined;
  header: Metadata | undefined;
  trailer: Metadata | undefined;
}

function gatewayTo(
  ports: readonly number[],
  rule = {},
  timeouts: Partial<Timeouts> = {},
): Promise<TestGateway> {
  return testGateway({
    timeouts,
    parts: oneRoute({ stable: ports, pool: { protocol: "h2c" }, rule }),
    onBug: (error) => assert.fail(String(error)),
  });
}

function caller(gateway: TestGateway): Caller {
  return new Caller(`127.0.0.1:${gateway.port}`, credentials.createInsecure());
}

describe("gRPC", () => {
  test("a unary call: message, metadata before and after it, te", async () => {
    await using app = await backend();
    await using gateway = await gatewayTo([app.port]);
    using client = caller(gateway);
    const { error, value, header, trailer } = await client.unary("hello");
    assert.equal(error, null);
    assert.equal(value, "hello!");
    assert.deepEqual(header?.get("x-header"), ["before"]);
    assert.deepEqual(trailer?.get("x-trailer"), ["after"]);
    await eventually(() => gateway.metric("ok", STABLE) === 1);
  });

  test("an error is trailers alone, and counts against the arm where it is a failure", async () => {
    await using app = await backend();
    await using gateway = await gatewayTo([app.port]);
    using client = caller(gateway);
    for (const code of [status.NOT_FOUND, status.INVALID_ARGUMENT, status.UNAVAILABLE]) {
      const { error } = await client.unary(`fail:${code}`);
      assert.equal(error?.code, code);
      assert.equal(error?.details, "Grüße, 100 %");
    }
    assert.equal(gateway.metric("ok", STABLE), 2);
    assert.equal(gateway.metric("status5xx", STABLE), 1);
  });

  test("a stream of requests", async () => {
    await using app = await backend();
    await using gateway = await gatewayTo([app.port]);
    using client = caller(gateway);
    const value = await new Promise<string | undefined>((resolve, reject) => {
      const { path } = SERVICE.collect;
      const call = client.makeClientStreamRequest(path, give, take, (error, text?: string) =>
        error === null ? resolve(text) : reject(error),
      );
      for (const text of ["a", "b", "c"]) call.write(text);
      call.end();
    });
    assert.equal(value, "a+b+c");
  });

  test("a stream of answers", async () => {
    await using app = await backend();
    await using gateway = await gatewayTo([app.port]);
    using client = caller(gateway);
    const call = client.makeServerStreamRequest(SERVICE.spread.path, give, take, "x");
    const answers: unknown[] = [];
    for await (const text of call) answers.push(text);
    assert.deepEqual(answers, ["x0", "x1", "x2"]);
  });

  test("a conversation: each message is answered before the next one is sent", async () => {
    await using app = await backend();
    await using gateway = await gatewayTo([app.port]);
    using client = caller(gateway);
    const call = client.makeBidiStreamRequest(SERVICE.converse.path, give, take);
    const answers: string[] = [];
    call.write("1");
    for await (const text of call as AsyncIterable<string>) {
      answers.push(text);
      if (answers.length < 4) call.write(String(answers.length + 1));
      else call.end();
    }
    assert.deepEqual(answers, ["<1>", "<2>", "<3>", "<4>"]);
  });

  /** Waits for as long as a client of anything but gRPC may be silent in its body. */
  async function outwait(timeouts: Partial<Timeouts>): Promise<void> {
    await using silent = await rawOrigin(() => {});
    await using gateway = await testGateway({
      parts: oneRoute({ stable: [silent.port] }),
      timeouts,
    });
    using peer = FramePeer.client(gateway.port);
    peer.headers(1, POST, 0);
    await peer.until(() => peer.ended(1));
    assert.match(peer.of(HEADERS, 1)[0]?.said ?? "", /^408/);
  }

  test("a conversation goes on after silence, of whoever it is", async () => {
    await using app = await backend();
    const timeouts = { requestIdleMs: 200, responseIdleMs: 60_000 };
    await using gateway = await gatewayTo([app.port], {}, timeouts);
    using client = caller(gateway);
    const call = client.makeBidiStreamRequest(SERVICE.converse.path, give, take);
    const answers: string[] = [];
    // Metadata alone goes first.
    await outwait(timeouts);
    call.write("1");
    for await (const text of call as AsyncIterable<string>) {
      answers.push(text);
      await outwait(timeouts);
      await outwait(timeouts);
      if (answers.length < 3) call.write(String(answers.length + 1));
      else call.end();
    }
    assert.deepEqual(answers, ["<1>", "<2>", "<3>"]);
  });

  test("a conversation is not silent while one side speaks; where both are, it ends", async () => {
    await using app = await backend();
    const timeouts = { requestIdleMs: 250, responseIdleMs: 2000 };
    await using gateway = await gatewayTo([app.port], {}, timeouts);
    using client = caller(gateway);
    const call = client.makeBidiStreamRequest(SERVICE.converse.path, give, take);
    const answers: string[] = [];
    const ended = new Promise<number>((resolve) => {
      call.on("error", ({ code }: ServiceError) => resolve(code));
    });
    call.on("data", (text: string) => answers.push(text));
    call.write("1");
    // To what begins so, the backend answers nothing.
    for (let turn = 0; turn < 9; turn++) {
      await outwait(timeouts);
      call.write("quiet");
    }
    call.write("2");
    await eventually(() => answers.length === 2);
    assert.deepEqual(answers, ["<1>", "<2>"]);
    assert.notEqual(await ended, status.OK);
  });

  test("over TLS: a call, and a conversation beside it on the same connection", async () => {
    await using app = await backend();
    const certificates = { a: SERVED[0] as TestCertificate };
    await using gateway = await testGateway({
      parts: secureParts({
        listeners: [{ hostname: "a.example", certificates: ["a"] }],
        certificates,
        route: { stable: [app.port], pool: { protocol: "h2c" } },
      }),
      credentials: privateKeys(certificates),
    });
    using client = new Caller(
      `127.0.0.1:${gateway.port}`,
      credentials.createSsl(Buffer.from(certificates.a.certificate)),
      { "grpc.ssl_target_name_override": "a.example", "grpc.default_authority": "a.example" },
    );
    const call = client.makeBidiStreamRequest(SERVICE.converse.path, give, take);
    const answers: string[] = [];
    call.write("1");
    for await (const text of call as AsyncIterable<string>) {
      answers.push(text);
      const { value, trailer } = await client.unary(text);
      assert.equal(value, `${text}!`);
      assert.deepEqual(trailer?.get("x-trailer"), ["after"]);
      if (answers.length < 3) call.write(String(answers.length + 1));
      else call.end();
    }
    assert.deepEqual(answers, ["<1>", "<2>", "<3>"]);
    assert.equal(gateway.worker("connections"), 1);
  });

  test("a call that the client cancels is cancelled at the backend", async () => {
    await using app = await backend();
    await using gateway = await gatewayTo([app.port]);
    using client = caller(gateway);
    const call = client.makeServerStreamRequest(SERVICE.spread.path, give, take, "open");
    call.on("error", () => {});
    let seen = 0;
    call.on("data", () => {
      if (++seen === 3) call.cancel();
    });
    await eventually(() => app.cancelled() === 1);
    await eventually(() => gateway.metric("clientGone") === 1);
    // The session to the backend goes on.
    assert.equal((await client.unary("still")).value, "still!");
  });

  test("a call's own deadline ends it at the gateway, whoever waits on", async () => {
    // A client and a server of gRPC would each cancel the call by themselves.
    await using app = await http2Origin(() => {});
    await using gateway = await gatewayTo([app.port]);
    using client = new Http2Client(gateway.port);
    const answer = await client.get({
      ":method": "POST",
      ":path": SERVICE.unary.path,
      "content-type": "application/grpc",
      "grpc-timeout": "100m",
    });
    assert.equal(answer.headers["grpc-status"], String(status.DEADLINE_EXCEEDED));
    assert.equal(gateway.metric("timeout", STABLE), 1);
  });

  test("a deadline of the client's reaches the backend, which is told of its end", async () => {
    await using app = await backend();
    await using gateway = await gatewayTo([app.port]);
    using client = caller(gateway);
    const { error } = await client.unary("never", { deadline: Date.now() + 200 });
    assert.equal(error?.code, status.DEADLINE_EXCEEDED);
    await eventually(() => app.cancelled() === 1);
  });

  const own: [what: string, ports: readonly number[], rule: object, code: number][] = [
    ["no endpoint", [], {}, status.UNAVAILABLE],
    ["a time limit of the route", [-1], { requestTimeoutMs: 100 }, status.DEADLINE_EXCEEDED],
    [
      "a time limit of the attempt",
      [-1],
      { backendRequestTimeoutMs: 100 },
      status.DEADLINE_EXCEEDED,
    ],
  ];
  for (const [what, ports, rule, code] of own) {
    test(`the gateway's own answer is one of gRPC: ${what}`, async () => {
      await using app = await backend();
      await using gateway = await gatewayTo(
        ports.map((port) => (port === -1 ? app.port : port)),
        rule,
      );
      using client = caller(gateway);
      const { error } = await client.unary("never");
      assert.equal(error?.code, code, error?.message);
      assert.match(error?.details ?? "", /backend|request/);
    });
  }
});
