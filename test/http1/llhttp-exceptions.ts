/**
 * Rows of the llhttp corpus on which a strict gateway differs from a general parser, each with the
 * section that allows or asks for it. A row listed here must be judged the other way round.
 */
export const LLHTTP_EXCEPTIONS: Readonly<Record<string, string>> = {
  "request/connection/no-restart-when-keep-alive-is-off-1-0":
    "RFC 9112 §9.6: the first request is answered, what follows it is never read",
  "request/connection/emitting-part-of-body-and-pausing":
    "RFC 9110 §7.8: no upgrade is supported, 501 says so",
  "request/connection/upgrade-get-request": "RFC 9110 §7.8: no upgrade is supported, 501 says so",
  "request/content-length/content-length-with-zeroes":
    "RFC 9112 §6.3: a length that could be read as octal is ambiguous",
  "request/content-length/spaces-in-content-length-surrounding":
    "RFC 9112 §6.3: a length is written in one way only",
  "request/invalid/http-protocol-and-announce-method":
    "RFC 9110 §16.1: methods are an open list; which of them it knows, the origin says",
  "request/method/connect-request-with-caps": "RFC 9110 §9.3.6: no tunnels, 501",
  "request/method/connect-with-body": "RFC 9110 §9.3.6: no tunnels, 501",
  "request/method/m-search-request": "RFC 9112 §3.2.4: asterisk-form is for OPTIONS alone",
  "request/method/options-request-with-rtsp": "RFC 9112 §2.3: not HTTP",
  "request/method/announce-request-with-rtsp": "RFC 9112 §2.3: not HTTP",
  "request/sample/no-http-version": "RFC 9112 §3: HTTP/0.9 is not served",
  "request/transfer-encoding/post-with-chunked-as-last-transfer-encoding":
    "RFC 9112 §6.1: a coding that is not understood, and §3.2: no fragment in a target",
  "request/uri/quotes-in-uri": "RFC 3986 §2: a backslash is not a URI character",
  "request/uri/underscore-in-hostname": "RFC 9110 §9.3.6: no tunnels, 501",
  "response/connection/http-1-1-with-keep-alive-disabled-and-204-status":
    "RFC 9112 §9.6: the response is complete; the connection is not used again",
  "response/connection/http-101-response-with-upgrade-and-content-length-header":
    "RFC 9110 §15.2.2: nothing was asked to switch",
  "response/sample/rtsp-response": "RFC 9112 §2.3: not HTTP",
  "response/sample/ice-response": "RFC 9112 §2.3: not HTTP",
  "response/transfer-encoding/chunkedchunked-transfer-encoding-does-not-enable-chunked-enconding":
    "RFC 9112 §6.1: a coding that is not understood",
};
