/** Responses of HTTP/2: fields as the ResponseHead that the strict parser makes of them. */
import { STATUS_CODES } from "node:http";
import { parseResponseHead, type ResponseHead } from "../http1/response-head.ts";
import { isConnectionSpecific } from "./fields.ts";

/**
 * The head of a response with these fields to a request of `method`; `ended`: no body follows.
 * Undefined: the head is refused.
 */
export function parseResponseFields(
  fields: readonly string[],
  { method, ended }: { method: string; ended: boolean },
): ResponseHead | undefined {
  let status = "";
  let lines = "";
  let count = 0;
  for (let index = 0; index < fields.length; index += 2) {
    const name = fields[index] as string;
    const value = fields[index + 1] as string;
    if (name === ":status") {
      if (status !== "" || count > 0) return undefined;
      status = value;
    } else if (name.charCodeAt(0) === 0x3a || isConnectionSpecific(name)) {
      return undefined;
    } else {
      lines += `${name}: ${value}\r\n`;
      count++;
    }
  }
  const text = `HTTP/1.1 ${status} ${STATUS_CODES[status] ?? ""}\r\n${lines}\r\n`;
  const head = parseResponseHead(text, text.length, method);
  if (head === undefined || head.count !== count) return undefined;
  // The stream says where the response ends, so nothing else has to.
  if (ended) {
    if (head.framing === "length") return undefined;
    head.framing = "none";
  }
  return head;
}
