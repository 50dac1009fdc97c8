/**
 * OpenAPI v3 over HTTP: an index of documents, one per group and version, each under a URL that
 * names its hash. Clients keep what they have read for as long as the hash stays the same.
 *
 * Of OpenAPI v2 there is a document that describes nothing: kubectl asks for it before it takes a
 * List, or says that a kind is not served, and would stop at a 404.
 */
import { openApiDocuments } from "../resource/openapi.ts";
import type { OpenApiDocument } from "../resource/openapi.ts";
import { noSuchPath } from "./api-error.ts";
import type { Exchange } from "./route.ts";

const ROOT = "/openapi/v3";
const V2 = "/openapi/v2";

const EMPTY_V2 = JSON.stringify({
  swagger: "2.0",
  info: { title: "Sluice: see /openapi/v3", version: "v1" },
  paths: {},
});
/** The same in the one form that kubectl reads: a protobuf message whose field 1 is "2.0". */
const EMPTY_V2_PROTOBUF = Buffer.from([0x0a, 3, 0x32, 0x2e, 0x30]);
const V2_PROTOBUF_TYPE = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";

/** A year: what has a hash in its URL never changes. */
const IMMUTABLE = "public, max-age=31536000, immutable";

/** Answers `GET /openapi/v2`, `/openapi/v3` and what is below that. Throws ApiError 404. */
export function answerOpenApi(exchange: Exchange): void {
  const { pathname } = exchange.url;
  if (pathname === V2) {
    sendV2(exchange);
    return;
  }
  const documents = openApiDocuments();
  if (pathname === ROOT || pathname === `${ROOT}/`) {
    send(exchange, { text: JSON.stringify(describe(documents)) });
    return;
  }
  const document = documents.get(pathname.slice(ROOT.length + 1));
  if (!pathname.startsWith(`${ROOT}/`) || document === undefined) throw noSuchPath();
  const asked = exchange.url.searchParams.get("hash");
  const isPinned = asked === document.hash;
  send(exchange, { ...document, ...(isPinned && { cacheControl: IMMUTABLE }) });
}

function describe(documents: ReadonlyMap<string, OpenApiDocument>): object {
  const paths: Record<string, object> = {};
  for (const [path, { hash }] of documents) {
    paths[path] = { serverRelativeURL: `${ROOT}/${path}?hash=${hash}` };
  }
  return { paths };
}

interface Sent {
  readonly text: string;
  readonly hash?: string;
  readonly cacheControl?: string;
}

function send({ request, response }: Exchange, sent: Sent): void {
  const { text, hash, cacheControl = "no-cache, private" } = sent;
  const tag = hash === undefined ? undefined : `"${hash}"`;
  const headers = { "cache-control": cacheControl, ...(tag !== undefined && { etag: tag }) };
  if (tag !== undefined && request.headers["if-none-match"] === tag) {
    response.writeHead(304, headers);
    response.end();
    return;
  }
  response.writeHead(200, {
    ...headers,
    "content-type": "application/json",
    "content-length": Buffer.byteLength(text),
  });
  response.end(text);
}

function sendV2({ request, response }: Exchange): void {
  const asProtobuf = (request.headers.accept ?? "").includes("proto-openapi.spec.v2");
  const body = asProtobuf ? EMPTY_V2_PROTOBUF : Buffer.from(EMPTY_V2);
  response.writeHead(200, {
    "content-type": asProtobuf ? V2_PROTOBUF_TYPE : "application/json",
    "content-length": body.length,
    "cache-control": "no-cache, private",
  });
  response.end(body);
}
