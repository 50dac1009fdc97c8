/** One address of a backend, as the attempt loop sees it, whatever is spoken there. */
import type { EndpointAddress, PoolPart } from "../compile/program.ts";
import type { ConnectionLimits } from "../compile/rule-part.ts";
import { jsonText } from "./access-log.ts";
import type { UpstreamStream } from "./upstream-stream.ts";

/** A pool as the rule uses it whose request is sent there. */
export type PoolUse = PoolPart & ConnectionLimits;

export interface Endpoint {
  readonly address: EndpointAddress;
  /** For the log, as JSON: "127.0.0.1:9001". */
  readonly text: string;
  /** Requests that it has not answered in full. */
  inFlight: number;
  /** Whether `takeIdle` or `open` may be asked within the limits of its pool. */
  hasRoom(use: PoolUse): boolean;
  /** Whether another connection is within those limits. */
  mayOpen(use: PoolUse): boolean;
  /** What takes a request at once, or undefined. */
  takeIdle(use: PoolUse): UpstreamStream | undefined;
  /** What takes a request once there is another connection: `ready` or `failed` follows. */
  open(use: PoolUse): UpstreamStream;
  /** Closes what has been idle for too long, and looks after what is not. Called every 250 ms. */
  sweep(nowMs: number): void;
  closeIdle(): void;
}

/** `Endpoint.text` of an address. */
export function addressText(address: EndpointAddress): string {
  return jsonText("unixPath" in address ? address.unixPath : `${address.host}:${address.port}`);
}

/** Whether a connection has had its time, or its requests (`ConnectionLimits`). */
export function isWorn(
  connection: { readonly openedMs: number; readonly requests: number },
  { connectionAgeMaxMs, requestsPerConnectionMax }: PoolUse,
): boolean {
  if (requestsPerConnectionMax !== undefined && connection.requests >= requestsPerConnectionMax) {
    return true;
  }
  return (
    connectionAgeMaxMs !== undefined &&
    connection.openedMs + connectionAgeMaxMs <= performance.now()
  );
}
