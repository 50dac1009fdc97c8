/**
 * RequestHeaderModifier and ResponseHeaderModifier (Gateway API HTTPHeaderFilter), which routes of
 * HTTP and of gRPC share, and the headers that no filter may touch.
 */
import { z } from "zod";
import { headerName, headerValue } from "./format.ts";
import { object, quoted, type Refuse, refuseDuplicates, throughout } from "./schema.ts";

/** Framing and connection headers belong to the gateway (RFC 9112 §6, RFC 9110 §7.6.1). */
const OWNED_HEADERS: Readonly<Record<string, string>> = {
  connection: "the gateway manages connections",
  "content-length": "the gateway frames messages",
  "keep-alive": "the gateway manages connections",
  "proxy-connection": "the gateway manages connections",
  te: "the gateway frames messages",
  trailer: "the gateway frames messages",
  "transfer-encoding": "the gateway frames messages",
  upgrade: "the gateway manages connections",
};

const headerToWrite = object({
  name: headerName().describe("Name of the header."),
  value: headerValue().describe("Its value."),
});

const headerFields = object({
  set: z.array(headerToWrite).max(16).exactOptional().describe("Headers to set, replacing theirs."),
  add: z.array(headerToWrite).max(16).exactOptional().describe("Values to add to headers."),
  remove: z.array(headerName()).max(16).exactOptional().describe("Names of headers to remove."),
});

export type HeaderFilter = z.infer<typeof headerFields>;

export const headerFilter = headerFields.superRefine(...throughout(checkHeaders));

function checkHeaders(filter: HeaderFilter, refuse: Refuse): void {
  const options = { field: "name", keyOfItem: nameOf, what: "the header" };
  refuseDuplicates(filter.set, { ...options, path: ["set"] }, refuse);
  refuseDuplicates(filter.add, { ...options, path: ["add"] }, refuse);
  const removed = filter.remove?.map((name) => ({ name }));
  refuseDuplicates(removed, { path: ["remove"], keyOfItem: nameOf, what: "the header" }, refuse);
  refuseActionTwice(filter, refuse);
  for (const list of ["set", "add"] as const) {
    for (const [index, item] of (filter[list] ?? []).entries()) {
      checkOwned(item.name, [list, index, "name"], refuse);
    }
  }
  for (const [index, name] of (filter.remove ?? []).entries()) {
    checkOwned(name, ["remove", index], refuse);
  }
}

/** Gateway API `HTTPHeaderFilter`: of one header a filter may do one thing. */
function refuseActionTwice(filter: HeaderFilter, refuse: Refuse): void {
  const seen = new Map((filter.set ?? []).map((item) => [nameOf(item), "set"]));
  for (const [index, item] of (filter.add ?? []).entries()) {
    const before = seen.get(nameOf(item));
    if (before !== undefined) refuse(["add", index, "name"], alreadyDone(item.name, before));
    else seen.set(nameOf(item), "add");
  }
  for (const [index, name] of (filter.remove ?? []).entries()) {
    const before = seen.get(name.toLowerCase());
    if (before !== undefined) refuse(["remove", index], alreadyDone(name, before));
  }
}

function alreadyDone(name: string, list: string): string {
  return `${quoted(name)} is in "${list}" already; a filter does one thing with a header`;
}

function nameOf(header: { readonly name: string }): string {
  return header.name.toLowerCase();
}

/** Refuses the name of a header that the gateway itself answers for. */
export function checkOwned(name: string, path: readonly (string | number)[], refuse: Refuse): void {
  const lower = name.toLowerCase();
  if (lower === "host") {
    refuse(path, "Host is changed by a URLRewrite filter's hostname, not by a header filter");
  } else if (Object.hasOwn(OWNED_HEADERS, lower)) {
    refuse(path, `${quoted(name)} may not be changed: ${OWNED_HEADERS[lower]}`);
  }
}
