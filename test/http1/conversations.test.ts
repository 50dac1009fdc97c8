/**
 * Whole conversations of hostile and of odd clients: every request is answered as it must be, each answer is
 * framed in exactly one way, and the origin gets what the gateway says it has sent, and nothing else. Whole
 * before a strict origin, byte by byte before a lenient one.
 */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { RawClient } from "../support/upstream.ts";
import { readAnswers } from "./answers.ts";
import { BODIES } from "./body-conversations.ts";
import { CONNECTIONS } from "./connection-conversations.ts";
import type { Conversation } from "./conversation.ts";
import { HEADS } from "./head-conversations.ts";
import { Lane } from "./reading-origin.ts";
import { sloppy, strict } from "./readings.ts";

/** What a request is refused with whose end is known: the connection may be kept. */
const KEPT: readonly number[] = [204, 405, 421, 501];

async function converse(lane: Lane, { bytes, answers }: Conversation): Promise<void> {
  const mark = lane.mark();
  using client = new RawClient(lane.port);
  await lane.ask(client, bytes, answers.length);
  const last = answers.at(-1);
  const isLeft = typeof last === "number" && !KEPT.includes(last) && !isWebSocket(bytes);
  if (isLeft) await client.until(({ ended }) => ended);
  else await lane.quiet(client);
  const methods = answers.map((one) =>
    typeof one === "string" ? one.slice(0, one.indexOf(" ")) : "GET",
  );
  const read = readAnswers(client.received, methods).map(({ status, body }, index) => {
    if (status !== 200) return status;
    return methods[index] === "HEAD" ? answers[index] : body;
  });
  const whole = await lane.settle(client, mark);
  assert.deepEqual(read, answers);
  assert.deepEqual(
    whole,
    answers.filter((one) => typeof one === "string"),
  );
}

/** A handshake that is refused ends as any other request does. */
function isWebSocket(bytes: string): boolean {
  return bytes.includes("Upgrade: websocket");
}

const LANES = [
  ["whole, a strict origin", new Lane(strict, false)],
  ["byte by byte, a lenient origin", new Lane(sloppy, true)],
] as const;

for (const [name, lane] of LANES) {
  describe(name, () => {
    before(() => lane.open());
    after(() => lane[Symbol.asyncDispose]());
    for (const conversation of [...HEADS, ...BODIES, ...CONNECTIONS]) {
      test(conversation.what, () => converse(lane, conversation));
    }
  });
}
