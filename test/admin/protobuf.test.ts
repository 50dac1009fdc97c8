/** Kubernetes' protobuf: what a document becomes, and that no bytes do more than be refused. */
import assert from "node:assert/strict";
import test from "node:test";
import * as fc from "fast-check";
import { ApiError } from "../../src/admin/api-error.ts";
import { decodeProtobuf } from "../../src/admin/protobuf.ts";

/** One field of a message: a varint for a number, else length and bytes. */
function field(number: number, value: number | string | Buffer): Buffer {
  if (typeof value === "number") return Buffer.concat([varint(number << 3), varint(value)]);
  const bytes = Buffer.from(value);
  return Buffer.concat([varint((number << 3) | 2), varint(bytes.length), bytes]);
}

function varint(value: number): Buffer {
  const bytes: number[] = [];
  let rest = value;
  while (rest > 0x7f) {
    bytes.push((rest & 0x7f) | 0x80);
    rest = Math.floor(rest / 128);
  }
  return Buffer.from([...bytes, rest]);
}

function document(apiVersion: string, kind: string, ...fields: Buffer[]): Buffer {
  const type = field(1, Buffer.concat([field(1, apiVersion), field(2, kind)]));
  return Buffer.concat([Buffer.from("k8s\0"), type, field(2, Buffer.concat(fields))]);
}

function entry(key: string, value: string | Buffer): Buffer {
  return Buffer.concat([field(1, key), field(2, value)]);
}

test("a Secret", () => {
  const metadata = Buffer.concat([
    field(1, "token"),
    field(2, ""),
    field(7, 0),
    field(8, ""),
    field(11, entry("app", "web")),
    field(11, entry("tier", "front")),
  ]);
  const body = document(
    "v1",
    "Secret",
    field(1, metadata),
    field(2, entry("k", "\u00ff")),
    field(3, "Opaque"),
  );
  assert.deepEqual(decodeProtobuf(body), {
    apiVersion: "v1",
    kind: "Secret",
    metadata: { name: "token", labels: { app: "web", tier: "front" } },
    data: { k: "w78=" },
    type: "Opaque",
  });
});

test("a Service with ports by number and by name", () => {
  const byNumber = Buffer.concat([
    field(3, 80),
    field(4, Buffer.concat([field(1, 0), field(2, 8080), field(3, "")])),
  ]);
  const byName = Buffer.concat([
    field(3, 443),
    field(4, Buffer.concat([field(1, 1), field(2, 0), field(3, "https")])),
  ]);
  const spec = Buffer.concat([
    field(1, byNumber),
    field(1, byName),
    field(4, "ClusterIP"),
    field(13, 0),
  ]);
  const { spec: decoded } = decodeProtobuf(
    document("v1", "Service", field(2, spec), field(3, field(1, ""))),
  );
  assert.deepEqual(decoded, {
    ports: [
      { port: 80, targetPort: 8080 },
      { port: 443, targetPort: "https" },
    ],
    type: "ClusterIP",
  });
});

test("what is not read is refused by name", () => {
  const refused = (body: Buffer, code: number, message: RegExp): void => {
    assert.throws(
      () => decodeProtobuf(body),
      (error) => error instanceof ApiError && error.code === code && message.test(error.message),
    );
  };
  refused(document("apps/v1", "Deployment"), 415, /Deployment is not read as protobuf/);
  refused(document("v1", "toString"), 415, /toString/);
  refused(document("v1", "Secret", field(99, "x")), 400, /Secret: field 99/);
  refused(document("v1", "Secret", field(1, field(17, "x"))), 400, /Secret\.metadata: field 17/);
  refused(document("v1", "ConfigMap", field(2, entry("__proto__", "x"))), 400, /__proto__/);
  refused(document("v1", "ConfigMap", field(2, 7)), 400, /not valid/);
  refused(document("v1", "ConfigMap").subarray(0, -1), 400, /not valid/);
  refused(Buffer.from("json"), 400, /not valid/);
});

test("no bytes do more than be refused", () => {
  const whole = document("v1", "Secret", field(1, field(1, "a")), field(2, entry("k", "v")));
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 60 }), fc.nat(whole.length), (noise, at) => {
      const body = Buffer.concat([whole.subarray(0, at), noise, whole.subarray(at)]);
      try {
        decodeProtobuf(body);
      } catch (error) {
        assert.ok(error instanceof ApiError, String(error));
      }
    }),
    { numRuns: 2000 },
  );
});
