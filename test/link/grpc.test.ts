/** The status of a gRPC response, as its trailers say it. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Exchange } from "../../src/proxy/exchange.ts";
import { noteGrpcTrailers } from "../../src/proxy/grpc.ts";

const UNKNOWN = 2;

function statusIn(trailers: string): number {
  const x = { grpcStatus: UNKNOWN };
  noteGrpcTrailers(x as Exchange, trailers);
  return x.grpcStatus;
}

const CASES: readonly [trailers: string, status: number][] = [
  ["grpc-status: 0\r\n", 0],
  ["x: 1\r\nGrpc-Status:14 \r\ngrpc-message: no\r\n", 14],
  ["x-grpc-status: 0\r\n", UNKNOWN],
  ["grpc-status: \r\n", UNKNOWN],
  ["grpc-status: 0 0\r\n", UNKNOWN],
  ["grpc-status: 123\r\n", UNKNOWN],
  ["", UNKNOWN],
];

for (const [trailers, status] of CASES) {
  test(`${JSON.stringify(trailers)}: ${status}`, () => assert.equal(statusIn(trailers), status));
}

test("a value that is long costs no more than its length", () => {
  const before = process.cpuUsage();
  assert.equal(statusIn(`grpc-status: a${" ".repeat(200_000)}b\r\n`), UNKNOWN);
  assert.ok(process.cpuUsage(before).user < 2_000_000);
});
