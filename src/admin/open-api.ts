/**
 * OpenAPI v3 over HTTP: an index of documents, one per group and version, each under a URL that
 * names its hash. Clients keep what they have read for as long as the hash stays the same.
 */
import { openApiDocuments } from "../resource/openapi.ts";
import type { OpenApiDocument } from "../resource/openapi.ts";
import { noSuchPath } from "./api-error.ts";
import type { Exchange } from "./route.ts";

const ROOT = "/openapi/v3";

/** A year: what has a hash in its URL never changes. */
const IMMUTABLE = "public, max-age=31536000, immutable";

/** Answers `GET /openapi/v3` and what is below it. Throws ApiError 404. */
export function answerOpenApi(exchange: Exchange): void {
  const { pathname } = exchange.url;
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
