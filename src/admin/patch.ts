/**
 * JSON Patch (RFC 6902) on plain JSON. Pure: the input is never
 * changed. Keys have passed `request-body.ts`, which refuses `__proto__`, and pointers are checked
 * here again.
 */
import { isJsonObject, jsonEqual } from "../base/json.ts";
import type { JsonObject, JsonValue } from "../base/json.ts";
import { ApiError, badRequest, tooLarge } from "./api-error.ts";

/** As the Kubernetes API server: a longer JSON Patch is refused with 413. */
const OPERATIONS_MAX = 10_000;
/** What the `copy` operations of one patch may add, so that doubling copies cannot fill memory. */
const COPIED_CHARS_MAX = 3 * 1024 * 1024;

type Tree = { [key: string]: Node };
type Node = null | boolean | number | string | Node[] | Tree;

interface Holder {
  root: Node;
  copiedChars: number;
}

/**
 * The result of a JSON Patch. Throws ApiError: 400 for what is not a patch, 413 for one that is too
 * long, 422 for an operation that does not fit the document or a `test` that fails.
 */
export function applyJsonPatch(target: JsonValue, patch: JsonValue): JsonValue {
  if (!Array.isArray(patch)) {
    throw badRequest("a JSON Patch (RFC 6902) is an array of operations");
  }
  if (patch.length > OPERATIONS_MAX) {
    throw tooLarge(
      `The allowed maximum operations in a JSON patch is ${OPERATIONS_MAX}, got ${patch.length}`,
    );
  }
  const holder: Holder = { root: structuredClone(target) as Node, copiedChars: 0 };
  for (const [index, operation] of patch.entries()) {
    if (!isJsonObject(operation)) throw badRequest(`operation ${index} is not an object`);
    applyOperation(holder, operation, index);
  }
  return holder.root;
}

function applyOperation(holder: Holder, operation: JsonObject, index: number): void {
  const path = pointerOf(operation, "path", index);
  const op = operation["op"];
  switch (typeof op === "string" ? op : "") {
    case "add":
      return add(holder, path, valueOf(operation, index), index);
    case "remove":
      remove(holder, path, index);
      return undefined;
    case "replace":
      read(holder, path, index);
      return put(holder, path, valueOf(operation, index), index);
    case "move": {
      const from = pointerOf(operation, "from", index);
      if (from.length < path.length && from.every((token, at) => path[at] === token)) {
        throw misfit(index, "a value cannot be moved into itself");
      }
      return add(holder, path, remove(holder, from, index), index);
    }
    case "copy": {
      const source = read(holder, pointerOf(operation, "from", index), index);
      holder.copiedChars += JSON.stringify(source).length;
      if (holder.copiedChars > COPIED_CHARS_MAX) {
        throw tooLarge(`the copy operations add more than ${COPIED_CHARS_MAX} characters`);
      }
      return add(holder, path, structuredClone(source), index);
    }
    case "test":
      if (!jsonEqual(read(holder, path, index), valueOf(operation, index))) {
        throw misfit(index, `testing value /${path.join("/")} failed`);
      }
      return undefined;
    default:
      throw badRequest(
        `operation ${index}: op must be one of add, remove, replace, move, copy, test`,
      );
  }
}

/** The tokens of a JSON Pointer (RFC 6901). */
function pointerOf(operation: JsonObject, field: "path" | "from", index: number): string[] {
  const text = operation[field];
  if (typeof text !== "string" || (text !== "" && !text.startsWith("/"))) {
    throw badRequest(`operation ${index}: ${field} must be a JSON Pointer`);
  }
  if (/~(?![01])/.test(text)) throw badRequest(`operation ${index}: ${field} has a bad escape`);
  const tokens = text.split("/").slice(1);
  const names = tokens.map((token) => token.replaceAll("~1", "/").replaceAll("~0", "~"));
  if (names.includes("__proto__")) {
    throw badRequest(`operation ${index}: ${field} must not name "__proto__"`);
  }
  return names;
}

function valueOf(operation: JsonObject, index: number): Node {
  const value = operation["value"];
  if (value === undefined) throw badRequest(`operation ${index}: value is missing`);
  return structuredClone(value) as Node;
}

function read(holder: Holder, path: readonly string[], index: number): Node {
  let node = holder.root;
  for (const token of path) node = child(node, token, index);
  return node;
}

function child(node: Node, token: string, index: number): Node {
  if (Array.isArray(node)) return node[position(token, node.length - 1, index)] as Node;
  if (isTree(node) && Object.hasOwn(node, token)) return node[token] as Node;
  throw misfit(index, `there is nothing at "${token}"`);
}

function add(holder: Holder, path: readonly string[], value: Node, index: number): void {
  const parent = parentOf(holder, path, index);
  const token = path.at(-1);
  if (!Array.isArray(parent) || token === undefined) return put(holder, path, value, index);
  if (token === "-") parent.push(value);
  else parent.splice(position(token, parent.length, index), 0, value);
  return undefined;
}

/** Sets what is at `path`; its parent must exist. */
function put(holder: Holder, path: readonly string[], value: Node, index: number): void {
  const parent = parentOf(holder, path, index);
  const token = path.at(-1);
  if (token === undefined) holder.root = value;
  else if (Array.isArray(parent)) parent[position(token, parent.length - 1, index)] = value;
  else if (isTree(parent)) parent[token] = value;
  else throw misfit(index, `"${token}" has no parent that is an object or an array`);
}

function remove(holder: Holder, path: readonly string[], index: number): Node {
  const token = path.at(-1);
  if (token === undefined) throw misfit(index, "the whole document cannot be removed");
  const removed = read(holder, path, index);
  const parent = parentOf(holder, path, index);
  if (Array.isArray(parent)) parent.splice(position(token, parent.length - 1, index), 1);
  else if (isTree(parent)) delete parent[token];
  return removed;
}

/** The container of what `path` names; null for the whole document. */
function parentOf(holder: Holder, path: readonly string[], index: number): Node {
  return path.length === 0 ? null : read(holder, path.slice(0, -1), index);
}

function position(token: string, max: number, index: number): number {
  const at = /^(?:0|[1-9]\d{0,8})$/.test(token) ? Number(token) : Number.NaN;
  if (!(at <= max)) throw misfit(index, `"${token}" is not an index of the array`);
  return at;
}

function isTree(node: Node): node is Tree {
  return typeof node === "object" && node !== null && !Array.isArray(node);
}

function misfit(index: number, why: string): ApiError {
  const message = "the server rejected our request due to an error in our request";
  return new ApiError({ code: 422, reason: "Invalid" }, `${message}: operation ${index}: ${why}`);
}
