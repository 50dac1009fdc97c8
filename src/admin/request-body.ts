/**
 * Reads what a client sends: bounded in bytes and depth, as JSON or YAML (and what kubectl insists
 * on as protobuf), and strictly — a key
 * given twice is refused, since one of the two would be ignored. Nothing here quotes a value, which
 * may be a Secret's.
 */
import type { IncomingMessage } from "node:http";
import { LineCounter, parseDocument } from "yaml";
import { isJsonObject } from "../base/json.ts";
import type { JsonValue } from "../base/json.ts";
import { repeatedKeys, YAML_OPTIONS } from "../resource/yaml-document.ts";
import { decodeProtobuf } from "./protobuf.ts";
import { badRequest, tooLarge, unsupportedMediaType } from "./api-error.ts";

/** The limit of the Kubernetes API server. */
export const BODY_BYTES_MAX = 3 * 1024 * 1024;
/** No kind nests nearly as deep; deeper trees would exhaust the stack of what walks them. */
const DEPTH_MAX = 64;

const PROTOBUF_TYPE = "application/vnd.kubernetes.protobuf";
const JSON_TYPE = "application/json";
const YAML_TYPES: readonly string[] = ["application/yaml", "application/x-yaml", "text/yaml"];

export type PatchType = "json" | "merge" | "strategic";

const PATCH_TYPES: Readonly<Record<string, PatchType>> = {
  "application/json-patch+json": "json",
  "application/merge-patch+json": "merge",
  "application/strategic-merge-patch+json": "strategic",
};

/** The media type of a request without its parameters, lower case; empty where there is none. */
export function mediaTypeOf(request: IncomingMessage): string {
  return (request.headers["content-type"] ?? "").split(";", 1)[0]?.trim().toLowerCase() ?? "";
}

/** Which patch a request holds. Throws ApiError 415, by name for server-side apply. */
export function patchTypeOf(request: IncomingMessage): PatchType {
  const mediaType = mediaTypeOf(request);
  const type = PATCH_TYPES[mediaType];
  if (type !== undefined) return type;
  if (mediaType.startsWith("application/apply-patch+")) {
    throw unsupportedMediaType(
      "server-side apply (application/apply-patch+yaml) is not supported by this version; use " +
        "client-side apply, a JSON Patch or a merge patch",
    );
  }
  const accepted = Object.keys(PATCH_TYPES).join(", ");
  throw unsupportedMediaType(
    `the body of the request was in an unknown format - accepted media types include: ${accepted}`,
  );
}

/** The document of a POST or PUT, or undefined for an empty body. Throws ApiError 400, 413, 415. */
export async function readDocument(request: IncomingMessage): Promise<JsonValue | undefined> {
  const mediaType = mediaTypeOf(request);
  const isYaml = YAML_TYPES.includes(mediaType);
  if (mediaType === PROTOBUF_TYPE) {
    const bytes = await readBytes(request);
    return bytes.length === 0 ? undefined : decodeProtobuf(bytes);
  }
  const text = await readText(request);
  if (text === "") return undefined;
  if (!isYaml && mediaType !== JSON_TYPE) {
    throw unsupportedMediaType(
      "the body of the request was in an unknown format - accepted media types include: " +
        `${JSON_TYPE}, ${YAML_TYPES[0]}`,
    );
  }
  return isYaml ? parseYaml(text) : parseStrictJson(text);
}

/** The body of a PATCH, whose media type `patchTypeOf` has accepted. Throws ApiError 400, 413. */
export async function readPatch(request: IncomingMessage): Promise<JsonValue> {
  return parseStrictJson(await readText(request));
}

async function readText(request: IncomingMessage): Promise<string> {
  const bytes = await readBytes(request);
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    throw badRequest("the body of the request is not UTF-8");
  }
}

async function readBytes(request: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  if (Number(request.headers["content-length"] ?? 0) > BODY_BYTES_MAX) throw bodyTooLarge();
  for await (const chunk of request as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    if (bytes > BODY_BYTES_MAX) throw bodyTooLarge();
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

function bodyTooLarge(): Error {
  return tooLarge(`Request entity too large: limit is ${BODY_BYTES_MAX}`);
}

/** Parses JSON; refuses duplicate keys, `__proto__` and excessive depth. Throws ApiError 400. */
export function parseStrictJson(text: string): JsonValue {
  let value: JsonValue;
  try {
    value = JSON.parse(text) as JsonValue;
  } catch {
    // V8's message quotes the text around the mistake, which may be a Secret's.
    throw badRequest("the body of the request is not valid JSON");
  }
  checkTree(value);
  const twice = duplicateKey(text);
  if (twice !== undefined) throw badRequest(`strict decoding error: duplicate field ${twice}`);
  return value;
}

function parseYaml(text: string): JsonValue {
  let value: unknown;
  try {
    const lineCounter = new LineCounter();
    const document = parseDocument(text, { ...YAML_OPTIONS, lineCounter });
    const [error] = document.errors;
    if (error !== undefined) throw notYaml(lineCounter.linePos(error.pos[0]), error.code);
    const [repeated] = repeatedKeys(document);
    if (repeated !== undefined) {
      throw notYaml(lineCounter.linePos(repeated.offset), repeated.message);
    }
    value = document.toJS({ maxAliasCount: 100 });
  } catch (error) {
    if (error instanceof Error && error.name === "ApiError") throw error;
    throw badRequest("the body of the request is not valid YAML");
  }
  checkTree(value);
  return value as JsonValue;
}

function notYaml({ line, col }: { line: number; col: number }, why: string): Error {
  return badRequest(`the body of the request is not valid YAML: ${line}:${col}: ${why}`);
}

/** Refuses trees that are too deep and the one key that is not safe to copy. */
function checkTree(root: unknown): void {
  let level: unknown[] = [root];
  for (let depth = 0; level.length > 0; depth++) {
    if (depth > DEPTH_MAX) throw badRequest(`the document nests deeper than ${DEPTH_MAX} levels`);
    const next: unknown[] = [];
    for (const value of level) {
      if (typeof value !== "object" || value === null) continue;
      if (isJsonObject(value) && Object.hasOwn(value, "__proto__")) {
        throw badRequest('the document must not hold the key "__proto__"');
      }
      for (const inner of Object.values(value)) next.push(inner);
    }
    level = next;
  }
}

/** The first key that an object of valid JSON holds twice, as JSON text. */
function duplicateKey(text: string): string | undefined {
  const open: (Set<string> | undefined)[] = [];
  for (let index = 0; index < text.length; index++) {
    const char = text[index];
    if (char === "{") open.push(new Set());
    else if (char === "[") open.push(undefined);
    else if (char === "}" || char === "]") open.pop();
    else if (char === '"') {
      const end = closingQuote(text, index);
      const keys = open.at(-1);
      if (keys !== undefined && isFollowedByColon(text, end + 1)) {
        const raw = text.slice(index, end + 1);
        const key = raw.includes("\\") ? JSON.stringify(JSON.parse(raw)) : raw;
        if (keys.has(key)) return key;
        keys.add(key);
      }
      index = end;
    }
  }
  return undefined;
}

function closingQuote(text: string, start: number): number {
  let end = start + 1;
  while (text[end] !== '"') end += text[end] === "\\" ? 2 : 1;
  return end;
}

function isFollowedByColon(text: string, start: number): boolean {
  let index = start;
  while (/\s/.test(text[index] ?? "")) index++;
  return text[index] === ":";
}
