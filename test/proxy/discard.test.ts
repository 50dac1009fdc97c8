/** What the canary shield throws away: an answer that nobody wants must never become another's. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { CANARY, oneRoute, STABLE, testGateway } from "../support/gateway.ts";
import { eventually, RawClient, rawOrigin } from "../support/upstream.ts";

const BAD: readonly [name: string, bytes: string][] = [
  ["an empty body", "HTTP/1.1 500 Bad\r\nContent-Length: 0\r\n\r\n"],
  ["a short body", "HTTP/1.1 500 Bad\r\nContent-Length: 3\r\n\r\nbad"],
];

describe("a discarded answer", () => {
  for (const [name, bad] of BAD) {
    test(`with ${name}: the request goes on to stable on the same endpoint`, async () => {
      let seen = 0;
      await using app = await rawOrigin((socket) => {
        seen++;
        socket.write(seen === 1 ? bad : "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nstable");
      });
      const parts = oneRoute({ stable: [app.port], canary: [app.port], weightBp: 9999 });
      await using gateway = await testGateway({ parts, random: () => 0.5 });
      using client = new RawClient(gateway.port);
      client.send("GET / HTTP/1.1\r\nHost: app\r\n\r\n");
      const text = await client.responses(1);
      assert.match(text, /^HTTP\/1\.1 200 OK\r\n.*\r\n\r\nstable$/s);
      assert.equal(seen, 2);
      assert.equal(gateway.metric("ok", STABLE), 1);
      assert.equal(gateway.metric("ok", CANARY), 0);
      assert.equal(gateway.metric("status5xx", CANARY), 1);
    });

    test(`with ${name}: what comes behind it is nobody's answer`, async () => {
      const poison = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison";
      let seen = 0;
      await using app = await rawOrigin((socket) => {
        seen++;
        const good = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nstable";
        socket.write(seen === 1 ? bad + poison : good);
      });
      const parts = oneRoute({ stable: [app.port], canary: [app.port], weightBp: 9999 });
      await using gateway = await testGateway({ parts, random: () => 0.5 });
      using client = new RawClient(gateway.port);
      client.send("GET / HTTP/1.1\r\nHost: app\r\n\r\n");
      assert.match(await client.responses(1), /\r\n\r\nstable$/);
      await eventually(() => app.sockets[0]?.destroyed === true);
    });
  }

  test("does not hand the answer of one client to another", async () => {
    let seen = 0;
    const waiting: (() => void)[] = [];
    await using app = await rawOrigin((socket, text) => {
      for (const [, path] of text.matchAll(/(?:GET|POST) (\S+) /g)) {
        seen++;
        const body = `for ${path}`;
        const answer = `HTTP/1.1 200 OK\r\nContent-Length: ${body.length}\r\n\r\n${body}`;
        if (seen === 1) socket.write("HTTP/1.1 500 Bad\r\nContent-Length: 0\r\n\r\n");
        else waiting.push(() => socket.write(answer));
      }
    });
    // Stable has nobody, so the shield fails inside the very call that discards.
    const parts = oneRoute({ stable: [], canary: [app.port], weightBp: 9999 });
    await using gateway = await testGateway({ parts, random: () => 0.5 });
    using alice = new RawClient(gateway.port);
    using bob = new RawClient(gateway.port);
    const post = "POST /alice HTTP/1.1\r\nHost: app\r\nContent-Length: 1\r\n\r\nx";
    alice.send(`GET /one HTTP/1.1\r\nHost: app\r\n\r\n${post}`);
    await eventually(() => waiting.length === 1);
    bob.send("POST /bob HTTP/1.1\r\nHost: app\r\nContent-Length: 1\r\n\r\ny");
    await eventually(() => waiting.length === 2);
    for (const answer of waiting) answer();
    assert.match(await alice.responses(2), /\r\n\r\nfor \/alice$/);
    assert.match(await bob.responses(1), /\r\n\r\nfor \/bob$/);
  });
});
