/**
 * How a stream of node:http2 is reset in the middle of a body. `stream.close(code)` ends the body first,
 * with END_STREAM, and what is cut off passes for complete; `stream.destroy(error)` does not, and says
 * CANCEL where the error is Node's own AbortError, else INTERNAL_ERROR.
 */
import { constants, type Http2Stream } from "node:http2";
import { Readable } from "node:stream";

const BROKEN = new Error("The message broke off");
const ABORTED = abortError();

/** Node's AbortError, which no module exports. */
function abortError(): Error {
  const stream = new Readable({ signal: AbortSignal.abort() });
  stream.on("error", () => {});
  return stream.errored ?? BROKEN;
}

/** Says that the message cannot be completed (RFC 9113 §7, INTERNAL_ERROR). */
export function breakOffStream(stream: Http2Stream): void {
  stream.destroy(BROKEN);
}

/** Says that nobody wants the rest of either message (CANCEL). */
export function cancelStream(stream: Http2Stream): void {
  if (stream.writableEnded) stream.close(constants.NGHTTP2_CANCEL);
  else stream.destroy(ABORTED);
}
