/**
 * The HTTP/1.1 corpora through real gateways with real origins behind them, one strict and two lenient,
 * whole and in segments of one byte: what must be refused is refused, what must be accepted is accepted,
 * and every origin gets the same requests, as many as the gateway says it has sent.
 */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { oneRoute, testGateway } from "../support/gateway.ts";
import { countResponses, RawClient, rawOrigin, statuses } from "../support/upstream.ts";
import {
  bytesOf,
  cases,
  llhttpCases,
  missing,
  sequences,
  withHost,
  type Condition,
  type LlhttpCase,
} from "./corpus.ts";
import { LLHTTP_EXCEPTIONS } from "./llhttp-exceptions.ts";
import { Lane, READERS, sendSliced } from "./reading-origin.ts";
import { sloppy, sloppyOtherwise, strict } from "./readings.ts";

/** Whom each case reached, whole, by the name of its lane. */
const reached = new Map<string, Map<string, readonly string[]>>();

function note(id: string, lane: string, whole: readonly string[]): void {
  const lanes = reached.get(id) ?? new Map<string, readonly string[]>();
  reached.set(id, lanes.set(lane, whole));
}

function isToken(token: string, outcome: string): boolean {
  if (token.startsWith("!")) return outcome !== token.slice(1);
  if (token === "2xx") return /^2\d\d$/.test(outcome);
  return token === outcome;
}

interface StepResult {
  readonly executed: boolean;
  readonly status: string;
  readonly responses: number;
}

function holds(when: Condition, results: readonly StepResult[]): boolean {
  const index = (when.step ?? 1) - 1;
  const result = results[index];
  const status = result?.status ?? "close";
  if (when.status?.some((token) => isToken(token, status)) === false) return false;
  if (when.statusNot?.some((token) => isToken(token, status)) === true) return false;
  if (when.closed === true && status !== "close" && status !== "timeout") return false;
  if (when.executed !== undefined && (result?.executed ?? false) !== when.executed) return false;
  if (when.nextExecuted !== undefined) {
    if ((results[index + 1]?.executed ?? false) !== when.nextExecuted) return false;
  }
  if (when.responsesAtLeast !== undefined && (result?.responses ?? 0) < when.responsesAtLeast) {
    return false;
  }
  return when.and === undefined || holds(when.and, results);
}

function testCases(name: string, lane: Lane): void {
  for (const item of cases) {
    const { pass, warn, requireClose } = item.verdict;
    test(item.id, async () => {
      const mark = lane.mark();
      using client = new RawClient(lane.port);
      const outcome = await lane.ask(client, bytesOf(item));
      const wanted = item.scored ? pass : [...pass, ...warn];
      assert.ok(
        wanted.some((token) => isToken(token, outcome)),
        `${outcome} is none of ${wanted.join(", ")}`,
      );
      if (requireClose === true) await client.until(({ ended }) => ended);
      const whole = await lane.settle(client, mark);
      assert.equal(whole.length, outcome.startsWith("2") ? 1 : 0, `sent on: ${whole.join()}`);
      note(item.id, name, whole);
    });
  }
}

function testSequences(name: string, lane: Lane): void {
  for (const item of sequences) {
    test(item.id, async () => {
      const mark = lane.mark();
      using client = new RawClient(lane.port);
      const results: StepResult[] = [];
      for (const { raw } of item.steps) {
        const executed = !client.ended && !client.closed;
        const from = client.received.length;
        const status = executed ? await lane.ask(client, raw) : "close";
        // The end of the connection may follow the answer by a moment.
        await client.until(({ ended }) => ended, 50).catch(() => "");
        const responses = statuses(client.received.slice(from)).length;
        results.push({ executed, status, responses });
      }
      const rule = item.judge.find(({ when }) => when === undefined || holds(when, results));
      const wanted = item.scored ? ["pass"] : ["pass", "warn"];
      assert.ok(wanted.includes(rule?.verdict ?? ""), JSON.stringify({ results, rule }));
      const whole = await lane.settle(client, mark);
      const answered = results.filter(({ status }) => status.startsWith("2")).length;
      assert.equal(whole.length, answered, "requests that reached the origin");
      note(item.id, name, whole);
    });
  }
}

const REQUESTS = llhttpCases.filter(({ type }) => type === "request");

/** A general parser's requests, those for its lenient modes, too: none may be read in two ways. */
function testLlhttp(name: string, lane: Lane): void {
  for (const row of REQUESTS) {
    const id = `${row.mode}: ${row.id}`;
    test(id, async () => {
      const mark = lane.mark();
      using client = new RawClient(lane.port);
      await lane.ask(client, withHost(row.raw), Math.max(row.messages, 1));
      note(id, name, await lane.settle(client, mark));
    });
  }
}

describe("through three origins, whole and byte by byte", { skip: missing, concurrency: 6 }, () => {
  for (const [origin, read] of Object.entries(READERS)) {
    for (const sliced of [false, true]) {
      const name = `${origin}, ${sliced ? "byte by byte" : "whole"}`;
      describe(name, { concurrency: 1 }, () => {
        const lane = new Lane(read, sliced);
        before(() => lane.open());
        after(() => lane[Symbol.asyncDispose]());
        testCases(name, lane);
        testSequences(name, lane);
        testLlhttp(name, lane);
        test("the gateway's metrics, its log and the origin have counted the same", () => {
          assert.equal(lane.origin.heads, lane.forwarded);
          assert.equal(lane.origin.whole.length, lane.completed);
        });
      });
    }
  }
});

describe("what each origin got of a case", { skip: missing }, () => {
  test("is the same in all lanes", () => {
    assert.equal(reached.size, cases.length + sequences.length + REQUESTS.length);
    for (const [id, lanes] of reached) {
      assert.equal(lanes.size, 6, id);
      const [first, ...others] = lanes.values();
      for (const other of others) assert.deepEqual(other, first, id);
    }
  });
});

const HEAD = "POST / HTTP/1.1\r\nHost: a\r\n";
const OWN =
  "x-forwarded-for: ::1\r\nx-forwarded-proto: http\r\nx-forwarded-host: a\r\nx-request-id: 1\r\n";

/** What the three readings make of bytes that a gateway must not pass on: else the tests above see nothing. */
describe("the readings differ where servers differ", () => {
  const rows: readonly [
    name: string,
    bytes: string,
    strict: string,
    one: string[],
    other: string[],
  ][] = [
    [
      "two lengths",
      `${HEAD}${OWN}Content-Length: 1\r\nContent-Length: 3\r\n\r\nabcGET /x HTTP/1.1\r\n\r\n`,
      "several framings",
      ["a", ""],
      ["abc", ""],
    ],
    [
      "a length and a coding",
      `${HEAD}${OWN}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /x HTTP/1.1\r\n\r\n`,
      "several framings",
      ["", ""],
      ["0\r\n\r\n", ""],
    ],
    [
      "a folded coding",
      `${HEAD}${OWN}Transfer-Encoding:\r\n chunked\r\n\r\n1\r\na\r\n0\r\n\r\n`,
      "no field line",
      ["a"],
      ["", "", "", ""],
    ],
    [
      "bare line feeds",
      `POST / HTTP/1.1\nContent-Length: 1\n\naGET /x HTTP/1.1\n\n\r\n\r\n`,
      "no request line",
      ["a", ""],
      ["a", ""],
    ],
    [
      "a chunk that spills",
      `${HEAD}${OWN}Transfer-Encoding: chunked\r\n\r\n1\r\nab\r\n0\r\n\r\n`,
      "no end of a chunk",
      [],
      ["a"],
    ],
    [
      "a size in C",
      `${HEAD}${OWN}Transfer-Encoding: chunked\r\n\r\n0x1\r\na\r\n0\r\n\r\n`,
      "no chunk size",
      ["a"],
      [""],
    ],
  ];
  for (const [name, bytes, fault, one, other] of rows) {
    test(name, () => {
      const judged = strict(bytes, 0);
      assert.ok(typeof judged === "string" && judged.startsWith(fault));
      assert.deepEqual(bodies(sloppy, bytes), one);
      assert.deepEqual(bodies(sloppyOtherwise, bytes), other);
    });
  }

  test("a byte is a read of its own", async () => {
    const reads: string[] = [];
    await using raw = await rawOrigin((_socket, text) => reads.push(text));
    using client = new RawClient(raw.port);
    await client.until(({ socket }) => !socket.connecting, 1).catch(() => "");
    await sendSliced(client, "abcdefghij");
    client.socket.end();
    await client.until(({ closed }) => closed || reads.join("").length === 10);
    assert.ok(reads.length >= 9, reads.join(" "));
  });
});

function bodies(read: typeof sloppy, bytes: string): string[] {
  const found: string[] = [];
  for (let at = 0; ;) {
    const reading = read(bytes, at);
    if (reading === null || !reading.complete) return found;
    found.push(reading.body);
    at = reading.next;
  }
}

const STRICT = ["request", "request-finish", "response", "response-finish"];

describe("llhttp.json, strict modes", { skip: missing }, () => {
  const lane = new Lane(strict, false);
  before(() => lane.open());
  after(() => lane[Symbol.asyncDispose]());
  for (const row of llhttpCases.filter(({ mode }) => STRICT.includes(mode))) {
    const exception = LLHTTP_EXCEPTIONS[row.id];
    const expected = exception === undefined ? row.accept : !row.accept;
    const why = exception === undefined ? "" : ` (${exception})`;
    test(`${row.id}: ${expected ? "accepted" : "refused"}${why}`, async () => {
      const accepted =
        row.type === "request" ? await sendRequest(lane, row) : await sendResponse(row);
      assert.equal(accepted, expected);
    });
  }
});

async function sendRequest(lane: Lane, row: LlhttpCase): Promise<boolean> {
  using client = new RawClient(lane.port);
  const outcome = await lane.ask(client, withHost(row.raw));
  const refused = statuses(client.received).some((status) => status >= 400);
  if (row.messages === 0 && row.accept) return !refused;
  return !refused && outcome !== "close";
}

async function sendResponse(row: LlhttpCase): Promise<boolean> {
  await using raw = await rawOrigin((socket) => socket.end(row.raw, "latin1"));
  await using front = await testGateway({ parts: oneRoute({ stable: [raw.port] }) });
  using client = new RawClient(front.port);
  client.send("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
  await client.until(
    ({ received, ended, closed }) => ended || closed || received.includes("\r\n\r\n"),
  );
  const first = statuses(client.received)[0];
  if (first === undefined) return row.messages === 0;
  // A body that turns out wrong after its head was passed on is broken off, never completed.
  if (first === 502) return false;
  await client.until(
    ({ ended, closed, received }) => ended || closed || countResponses(received) > 0,
  );
  return row.accept || countResponses(client.received) > 0;
}
