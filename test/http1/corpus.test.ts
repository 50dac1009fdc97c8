/**
 * The HTTP/1.1 corpora through a real gateway with a real origin behind it: what must be refused is
 * refused, what must be accepted is accepted, and the origin never sees a request that the client did
 * not send as such.
 */
import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { after, before, describe, test } from "node:test";
import { oneRoute, testGateway, type TestGateway } from "../support/gateway.ts";
import {
  countResponses,
  origin,
  RawClient,
  rawOrigin,
  statuses,
  type Origin,
} from "../support/upstream.ts";
import { LLHTTP_EXCEPTIONS } from "./llhttp-exceptions.ts";

const CASES = new URL("../../../shared/cases/http1/", import.meta.url);
const missing = existsSync(CASES) ? false : "the corpora are not here";

interface Piece {
  readonly repeat: string;
  readonly count: number;
  readonly index?: string;
}

interface Case {
  readonly id: string;
  readonly scored: boolean;
  readonly rawRequest?: string | null;
  readonly rawParts?: readonly (string | Piece)[] | null;
  readonly verdict: { readonly pass: readonly string[]; readonly requireClose?: boolean };
}

function load(name: string): unknown {
  return JSON.parse(readFileSync(new URL(name, CASES), "utf8"));
}

function bytesOf({ rawRequest, rawParts }: Case): string {
  if (typeof rawRequest === "string") return rawRequest;
  return (rawParts ?? []).map(expand).join("");
}

function expand(part: string | Piece): string {
  if (typeof part === "string") return part;
  const { repeat, count, index } = part;
  if (index === undefined) return repeat.repeat(count);
  return Array.from({ length: count }, (_, at) => repeat.replaceAll(index, String(at))).join("");
}

let app: Origin;
let gateway: TestGateway;

before(async () => {
  if (missing !== false) return;
  app = await origin();
  gateway = await testGateway({ parts: oneRoute({ stable: [app.port] }) });
});

after(async () => {
  if (missing !== false) return;
  await gateway[Symbol.asyncDispose]();
  await app[Symbol.asyncDispose]();
});

/** How long silence has to last before it is taken for an answer. */
const SILENCE_MS = 300;

/** Sends bytes, whole or one by one, and tells what came: a status, "close" or "timeout". */
async function ask(client: RawClient, bytes: string, sliced = false): Promise<string> {
  const from = client.received.length;
  if (sliced) for (const byte of bytes) client.socket.write(byte, "latin1");
  else client.send(bytes);
  try {
    await client.until(
      () => client.ended || client.closed || countResponses(client.received.slice(from)) > 0,
      SILENCE_MS,
    );
  } catch {
    return "timeout";
  }
  const status = statuses(client.received.slice(from))[0];
  return status === undefined ? "close" : String(status);
}

function isToken(token: string, outcome: string): boolean {
  if (token.startsWith("!")) return outcome !== token.slice(1);
  if (token === "2xx") return /^2\d\d$/.test(outcome);
  return token === outcome;
}

describe("cases.json", { skip: missing }, () => {
  const cases = missing === false ? (load("cases.json") as Case[]) : [];
  for (const item of cases.filter(({ scored }) => scored)) {
    for (const sliced of [false, true]) {
      const bytes = bytesOf(item);
      if (sliced && bytes.length > 2000) continue;
      test(`${item.id}${sliced ? ", byte by byte" : ""}`, async () => {
        const seen = app.requests.length;
        using client = new RawClient(gateway.port);
        const outcome = await ask(client, bytes, sliced);
        const { pass, requireClose } = item.verdict;
        assert.ok(
          pass.some((token) => isToken(token, outcome)),
          `${outcome} is none of ${pass.join(", ")}`,
        );
        if (requireClose === true) await client.until(({ ended }) => ended);
        assert.ok(
          app.requests.length - seen <= (outcome.startsWith("2") ? 1 : 0) || outcome === "timeout",
        );
      });
    }
  }
});

interface Condition {
  readonly step?: number;
  readonly status?: readonly string[];
  readonly statusNot?: readonly string[];
  readonly closed?: boolean;
  readonly executed?: boolean;
  readonly nextExecuted?: boolean;
  readonly responsesAtLeast?: number;
  readonly and?: Condition;
}

interface Sequence {
  readonly id: string;
  readonly scored: boolean;
  readonly steps: readonly { readonly raw: string }[];
  readonly judge: readonly {
    readonly when?: Condition;
    readonly otherwise?: boolean;
    readonly verdict: string;
  }[];
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

describe("sequences.json", { skip: missing }, () => {
  for (const item of missing === false ? (load("sequences.json") as Sequence[]) : []) {
    test(item.id, async () => {
      const seen = app.requests.length;
      using client = new RawClient(gateway.port);
      const results: StepResult[] = [];
      for (const { raw } of item.steps) {
        const executed = !client.ended && !client.closed;
        const from = client.received.length;
        const status = executed ? await ask(client, raw) : "close";
        // The end of the connection may follow the answer by a moment.
        await client.until(({ ended }) => ended, 50).catch(() => "");
        const responses = statuses(client.received.slice(from)).length;
        results.push({ executed, status, responses });
      }
      const rule = item.judge.find(({ when }) => when === undefined || holds(when, results));
      const wanted = item.scored ? ["pass"] : ["pass", "warn"];
      assert.ok(wanted.includes(rule?.verdict ?? ""), JSON.stringify({ results, rule }));
      const answered = results.filter(({ status }) => status.startsWith("2")).length;
      assert.equal(app.requests.length - seen, answered, "requests that reached the origin");
    });
  }
});

interface LlhttpCase {
  readonly id: string;
  readonly type: "request" | "response";
  readonly mode: string;
  readonly raw: string;
  readonly accept: boolean;
  readonly messages: number;
}

const STRICT = ["request", "request-finish", "response", "response-finish"];

describe("llhttp.json, strict modes", { skip: missing }, () => {
  const rows = missing === false ? (load("llhttp.json") as LlhttpCase[]) : [];
  for (const row of rows.filter(({ mode }) => STRICT.includes(mode))) {
    const exception = LLHTTP_EXCEPTIONS[row.id];
    const expected = exception === undefined ? row.accept : !row.accept;
    const why = exception === undefined ? "" : ` (${exception})`;
    test(`${row.id}: ${expected ? "accepted" : "refused"}${why}`, async () => {
      const accepted = row.type === "request" ? await sendRequest(row) : await sendResponse(row);
      assert.equal(accepted, expected);
    });
  }
});

function withHost(raw: string): string {
  return raw
    .split(/(?<=\r\n\r\n)(?=[A-Z-]+ )/)
    .map((message) =>
      /^host:/im.test(message) ? message : message.replace("\r\n", "\r\nHost: localhost\r\n"),
    )
    .join("");
}

async function sendRequest(row: LlhttpCase): Promise<boolean> {
  using client = new RawClient(gateway.port);
  const outcome = await ask(client, withHost(row.raw));
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
