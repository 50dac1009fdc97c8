/**
 * What can be wrong with a request head, by name. The parser returns one of these instead of a head;
 * the proxy's error table says which status answers it. A fault never carries bytes of the request.
 */

export type HeadFault =
  | "head_malformed"
  | "head_too_large"
  | "headers_too_many"
  | "header_underscore"
  | "host_invalid"
  | "framing_invalid"
  | "coding_unsupported"
  | "target_invalid"
  | "target_too_long"
  | "version_unsupported"
  | "expectation_unsupported";

/** Bytes of a request head, from the method to the blank line. */
export const REQUEST_HEAD_BYTES_MAX = 32 * 1024;
/** Bytes of a request target (RFC 9112 §3 asks for at least 8,000 octets of request line). */
export const TARGET_BYTES_MAX = 16 * 1024;
export const HEADERS_MAX = 100;
/** Bytes of an upstream's response head. */
export const RESPONSE_HEAD_BYTES_MAX = 64 * 1024;
