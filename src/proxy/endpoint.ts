/** One address of a backend, as the attempt loop sees it, whatever is spoken there. */
import type { EndpointAddress, PoolPart } from "../compile/program.ts";
import type { UpstreamStream } from "./upstream-stream.ts";

export interface Endpoint {
  readonly address: EndpointAddress;
  /** For the log, as JSON: "127.0.0.1:9001". */
  readonly text: string;
  /** Requests that it has not answered in full. */
  inFlight: number;
  /** Whether `takeIdle` or `open` may be asked within the limits of its pool. */
  hasRoom(part: PoolPart): boolean;
  /** What takes a request at once, or undefined. */
  takeIdle(): UpstreamStream | undefined;
  /** What takes a request once there is another connection: `ready` or `failed` follows. */
  open(part: PoolPart): UpstreamStream;
  /** Closes what has been idle for too long, and looks after what is not. Called every 250 ms. */
  sweep(nowMs: number): void;
  closeIdle(): void;
}
