/**
 * The opening handshake of WebSocket (RFC 6455 §4), as one who passes it on has to check it: a request
 * that asks for it and nothing else, and an answer that belongs to that request.
 */
import { createHash } from "node:crypto";
import type { RequestHead } from "./request-head.ts";
import type { ResponseHead } from "./response-head.ts";

/** 16 bytes in base64. */
const KEY = /^[A-Za-z0-9+/]{22}==$/;
const GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/** What a request that names another protocol asks for, as far as this gateway goes along with it. */
export type UpgradeAsked = "none" | "websocket" | "invalid" | "unsupported";

/**
 * Judges a head with an Upgrade that Connection nominates. The version is not looked at: which ones
 * there are the backend knows and says (426, RFC 6455 §4.2.2).
 */
export function upgradeAsked(head: RequestHead): UpgradeAsked {
  const { upgrade } = head;
  // An offer of h2c may be ignored (RFC 9110 §7.8), and common clients make it with every request.
  if (upgrade === "" || upgrade.toLowerCase() === "h2c") return "none";
  if (head.header("upgrade")?.toLowerCase() !== "websocket") return "unsupported";
  if (head.method !== "GET" || head.hasBody) return "unsupported";
  const key = head.header("sec-websocket-key") ?? "";
  return KEY.test(key) && head.keeps("sec-websocket-key") ? "websocket" : "invalid";
}

/** The lines that ask the next hop for it; those that came ended at this one. */
export const UPGRADE_LINES = "connection: Upgrade\r\nupgrade: websocket\r\n";

/** The value of Sec-WebSocket-Accept that answers `key` (RFC 6455 §4.2.2). */
export function acceptOf(key: string): string {
  return createHash("sha1").update(key).update(GUID).digest("base64");
}

/** Whether a 101 switches to what `request` asked for, and has nothing else in mind. */
export function isSwitched(request: RequestHead, response: ResponseHead): boolean {
  const connection = response.header("connection")?.toLowerCase().split(",") ?? [];
  return (
    response.header("upgrade")?.toLowerCase() === "websocket" &&
    connection.some((token) => token.trim() === "upgrade") &&
    response.header("sec-websocket-accept") ===
      acceptOf(request.header("sec-websocket-key") ?? "") &&
    response.header("transfer-encoding") === undefined &&
    response.header("content-length") === undefined
  );
}
