/**
 * A collector that records: a real HTTP server that takes OTLP's `POST /v1/traces` as JSON or protobuf
 * and decodes it from the specification (opentelemetry-proto/trace/v1/trace.proto), not with the
 * exporter's own code.
 */
import { once } from "node:events";
import { createServer, type IncomingHttpHeaders, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { gunzipSync } from "node:zlib";

type Value = string | number | boolean | readonly Value[];

export interface RecordedSpan {
  readonly traceId: string;
  readonly spanId: string;
  /** "" for the root of a trace. */
  readonly parentId: string;
  readonly traceState: string;
  readonly name: string;
  readonly kind: "server" | "client" | "other";
  readonly startMs: number;
  readonly endMs: number;
  readonly attributes: Readonly<Record<string, Value>>;
  readonly events: readonly string[];
  readonly status: "unset" | "ok" | "error";
  readonly resource: Readonly<Record<string, Value>>;
}

export interface Collector extends AsyncDisposable {
  /** The base, as OTEL_EXPORTER_OTLP_ENDPOINT names it. */
  readonly url: string;
  readonly port: number;
  readonly spans: RecordedSpan[];
  /** Headers of the exports that were taken, and their paths. */
  readonly exports: { readonly path: string; readonly headers: IncomingHttpHeaders }[];
  /** How the next exports are answered; 200 takes them. */
  status: number;
  /** Where true, exports are neither answered nor recorded. */
  silent: boolean;
}

export async function collector(port = 0): Promise<Collector> {
  const server = createServer((request, response) => {
    const slices: Buffer[] = [];
    request.on("data", (slice: Buffer) => slices.push(slice));
    request.on("end", () => {
      if (recorder.silent) return;
      if (recorder.status === 200) {
        recorder.exports.push({ path: request.url ?? "", headers: request.headers });
        recorder.spans.push(...decode(request.headers, Buffer.concat(slices)));
      }
      answer(response, recorder.status, request.headers["content-type"] ?? "");
    });
  });
  server.listen(port, "127.0.0.1");
  await once(server, "listening");
  const bound = (server.address() as AddressInfo).port;
  const recorder: Collector = {
    url: `http://127.0.0.1:${bound}`,
    port: bound,
    spans: [],
    exports: [],
    status: 200,
    silent: false,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      server.close();
      await once(server, "close");
    },
  };
  return recorder;
}

function answer(response: ServerResponse, status: number, type: string): void {
  response.writeHead(status, { "content-type": type });
  response.end(type === "application/json" ? "{}" : "");
}

function decode(headers: IncomingHttpHeaders, body: Buffer): RecordedSpan[] {
  const bytes = headers["content-encoding"] === "gzip" ? gunzipSync(body) : body;
  const type = headers["content-type"];
  if (type === "application/json") return fromJson(JSON.parse(bytes.toString("utf8")) as Json);
  if (type === "application/x-protobuf") return fromProtobuf(bytes);
  throw new Error(`An export of type ${type}`);
}

const KINDS: Readonly<Record<number, RecordedSpan["kind"]>> = { 2: "server", 3: "client" };
const STATUS = ["unset", "ok", "error"] as const;

interface JsonAttribute {
  readonly key: string;
  readonly value: Readonly<Record<string, unknown>>;
}
interface Json {
  readonly resourceSpans: readonly {
    readonly resource: { readonly attributes: readonly JsonAttribute[] };
    readonly scopeSpans: readonly {
      readonly spans: readonly Readonly<Record<string, unknown>>[];
    }[];
  }[];
}

function fromJson({ resourceSpans }: Json): RecordedSpan[] {
  return resourceSpans.flatMap(({ resource, scopeSpans }) =>
    scopeSpans.flatMap(({ spans }) =>
      spans.map((span) => ({
        traceId: span["traceId"] as string,
        spanId: span["spanId"] as string,
        parentId: (span["parentSpanId"] as string | undefined) ?? "",
        traceState: (span["traceState"] as string | undefined) ?? "",
        name: span["name"] as string,
        kind: KINDS[span["kind"] as number] ?? "other",
        startMs: millis(BigInt(span["startTimeUnixNano"] as string)),
        endMs: millis(BigInt(span["endTimeUnixNano"] as string)),
        attributes: jsonAttributes(span["attributes"] as readonly JsonAttribute[]),
        events: (span["events"] as readonly { name: string }[]).map(({ name }) => name),
        status: STATUS[(span["status"] as { code?: number }).code ?? 0] ?? "unset",
        resource: jsonAttributes(resource.attributes),
      })),
    ),
  );
}

function jsonAttributes(list: readonly JsonAttribute[]): Record<string, Value> {
  return Object.fromEntries(
    list.map(({ key, value }) => {
      const [type, of] = Object.entries(value)[0] as [string, unknown];
      return [key, type === "intValue" ? Number(of) : (of as Value)];
    }),
  );
}

/** A message by field number; bytes for what has a length, numbers for the rest. */
type Fields = Map<number, (Buffer | bigint)[]>;

function fieldsOf(bytes: Buffer): Fields {
  const fields: Fields = new Map();
  let at = 0;
  const varint = (): bigint => {
    let value = 0n;
    for (let shift = 0n; ; shift += 7n) {
      const byte = bytes.readUInt8(at++);
      value |= BigInt(byte & 0x7f) << shift;
      if (byte < 0x80) return value;
    }
  };
  while (at < bytes.length) {
    const tag = Number(varint());
    let value: Buffer | bigint;
    if (tag % 8 === 0) value = varint();
    else if (tag % 8 === 1) value = bytes.readBigUInt64LE((at += 8) - 8);
    else if (tag % 8 === 5) value = BigInt(bytes.readUInt32LE((at += 4) - 4));
    else {
      const length = Number(varint());
      value = bytes.subarray(at, (at += length));
      if (tag % 8 !== 2 || value.length !== length) throw new Error("No valid protobuf");
    }
    const values = fields.get(tag >> 3) ?? [];
    fields.set(tag >> 3, [...values, value]);
  }
  return fields;
}

const messages = (fields: Fields, number: number): Fields[] =>
  (fields.get(number) ?? []).map((value) => fieldsOf(value as Buffer));
const bytesOf = (fields: Fields, number: number): Buffer =>
  (fields.get(number)?.[0] as Buffer | undefined) ?? Buffer.alloc(0);
const numberOf = (fields: Fields, number: number): bigint =>
  (fields.get(number)?.[0] as bigint | undefined) ?? 0n;

function fromProtobuf(bytes: Buffer): RecordedSpan[] {
  return messages(fieldsOf(bytes), 1).flatMap((resourceSpans) => {
    const resource = attributesOf(messages(resourceSpans, 1)[0] ?? new Map(), 1);
    return messages(resourceSpans, 2).flatMap((scopeSpans) =>
      messages(scopeSpans, 2).map((span) => ({
        traceId: bytesOf(span, 1).toString("hex"),
        spanId: bytesOf(span, 2).toString("hex"),
        traceState: bytesOf(span, 3).toString("utf8"),
        parentId: bytesOf(span, 4).toString("hex"),
        name: bytesOf(span, 5).toString("utf8"),
        kind: KINDS[Number(numberOf(span, 6))] ?? "other",
        startMs: millis(numberOf(span, 7)),
        endMs: millis(numberOf(span, 8)),
        attributes: attributesOf(span, 9),
        events: messages(span, 11).map((event) => bytesOf(event, 2).toString("utf8")),
        status: STATUS[Number(numberOf(messages(span, 15)[0] ?? new Map(), 3))] ?? "unset",
        resource,
      })),
    );
  });
}

function attributesOf(fields: Fields, number: number): Record<string, Value> {
  return Object.fromEntries(
    messages(fields, number).map((pair) => [
      bytesOf(pair, 1).toString("utf8"),
      valueOf(messages(pair, 2)[0] ?? new Map()),
    ]),
  );
}

function valueOf(value: Fields): Value {
  const [type, values] = [...value][0] ?? [1, [Buffer.alloc(0)]];
  const first = values[0] as Buffer | bigint;
  if (typeof first !== "bigint") {
    return type === 5 ? messages(fieldsOf(first), 1).map(valueOf) : first.toString("utf8");
  }
  if (type === 2) return first !== 0n;
  return type === 3
    ? Number(BigInt.asIntN(64, first))
    : (new Float64Array([Number(first)])[0] ?? 0);
}

function millis(nanos: bigint): number {
  return Number(nanos) / 1_000_000;
}
