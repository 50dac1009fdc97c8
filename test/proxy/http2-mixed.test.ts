/**
 * Many requests of all kinds at once, drawn from a seed, from clients and to backends of node:http2 and
 * node:http: every one gets its own answer, to the byte, and no table or window comes apart.
 */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import type { ServerHttp2Stream } from "node:http2";
import { describe, test } from "node:test";
import { seededRandom, type Random } from "../../src/base/random.ts";
import { oneRoute, testGateway } from "../support/gateway.ts";
import { answerOf, Http2Client, http2Origin } from "../support/http2.ts";
import { origin } from "../support/upstream.ts";

const SEEDS = [1, 2, 3];
const ROUNDS = 12;
const AT_ONCE = 40;

interface Drawn {
  readonly method: string;
  readonly path: string;
  readonly fields: Readonly<Record<string, string>>;
  readonly body: string;
  readonly trailers: boolean;
  /** Bytes of the answer. */
  readonly answerBytes: number;
}

function draw(random: Random): Drawn {
  const pick = <T>(values: readonly T[]): T => values[Math.floor(random() * values.length)] as T;
  const fields: Record<string, string> = {};
  for (const name of ["x-one", "x-two", "authorization", "x-three", "cookie"]) {
    if (random() < 0.4) fields[name] = pick(["a", "b", "a longer value", String(random())]);
  }
  const sizes = [0, 1, 10, 1000, 20_000, 200_000];
  const method = pick(["GET", "GET", "POST", "PUT", "DELETE", "HEAD"]);
  const hasBody = method === "POST" || method === "PUT";
  return {
    method,
    path: pick(["/", "/a", "/b?c=d", `/${Math.floor(random() * 1000)}`]),
    fields,
    body: hasBody ? pick(["x", "y", "0123456789"]).repeat(pick(sizes)) : "",
    trailers: random() < 0.2,
    answerBytes: pick(sizes),
  };
}

/** What a request was, as its origin saw it. */
function digestOf(method: string, path: string, fields: object, body: string): string {
  const names = ["x-one", "x-two", "authorization", "x-three", "cookie"];
  const seen = names.map((name) => String(Reflect.get(fields, name) ?? ""));
  return createHash("sha1")
    .update([method, path, ...seen, body].join("|"))
    .digest("hex");
}

async function ask(client: Http2Client, drawn: Drawn): Promise<void> {
  const { method, path, fields, body, trailers, answerBytes } = drawn;
  const headers = {
    ":method": method,
    ":path": path,
    ":authority": "app",
    "x-answer": answerBytes,
    ...fields,
  };
  const hasBody = method === "POST" || method === "PUT";
  const stream = client.open(headers, {
    endStream: !hasBody,
    waitForTrailers: trailers && hasBody,
  });
  stream.on("wantTrailers", () => stream.sendTrailers({ "x-trailer": "1" }));
  if (hasBody) stream.end(body);
  const answer = await answerOf(stream);
  assert.equal(answer.status, 200, JSON.stringify([drawn, answer.code]));
  const length = method === "HEAD" ? 0 : answerBytes;
  assert.equal(answer.headers["x-digest"], digestOf(method, path, fields, body));
  assert.equal(answer.body.length, length);
  assert.equal(answer.body, "z".repeat(length));
}

async function askMany(port: number, seed: number): Promise<void> {
  const random = seededRandom(seed);
  using one = new Http2Client(port);
  using other = new Http2Client(port);
  for (let round = 0; round < ROUNDS; round++) {
    const asked = Array.from({ length: AT_ONCE }, () =>
      ask(random() < 0.5 ? one : other, draw(random)),
    );
    await Promise.all(asked);
  }
}

describe("requests of all kinds at once", () => {
  for (const seed of SEEDS) {
    test(`to a backend of HTTP/1.1, seed ${seed}`, async () => {
      await using app = await origin(({ method, url, headers, body }, response) => {
        response.setHeader("x-digest", digestOf(method, url, headers, body));
        const length = Number(headers["x-answer"]);
        if (length % 3 === 1) response.setHeader("content-length", length);
        response.end("z".repeat(length));
      });
      await using gateway = await testGateway({
        parts: oneRoute({ stable: [app.port] }),
        onBug: (error) => assert.fail(error as Error),
      });
      await askMany(gateway.port, seed);
      assert.equal(app.requests.length, ROUNDS * AT_ONCE);
    });

    test(`to a backend of HTTP/2, seed ${seed}`, async () => {
      const answer = (stream: ServerHttp2Stream, digest: string, length: number): void => {
        stream.respond(
          { ":status": 200, "x-digest": digest, ...(length === 10 && { "content-length": 10 }) },
          { waitForTrailers: length === 1000 },
        );
        stream.on("wantTrailers", () => stream.sendTrailers({ "x-after": "1" }));
        stream.end("z".repeat(length));
      };
      await using app = await http2Origin(({ headers, body }, stream) => {
        const digest = digestOf(
          String(headers[":method"]),
          String(headers[":path"]),
          headers,
          body,
        );
        answer(stream, digest, headers[":method"] === "HEAD" ? 0 : Number(headers["x-answer"]));
      });
      await using gateway = await testGateway({
        parts: oneRoute({ stable: [app.port], pool: { protocol: "h2c" } }),
        onBug: (error) => assert.fail(error as Error),
      });
      await askMany(gateway.port, seed);
      assert.equal(app.requests.length, ROUNDS * AT_ONCE);
      assert.equal(app.sessions.length, 1);
    });
  }
});
