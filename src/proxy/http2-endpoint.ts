/**
 * HTTP/2 towards one endpoint: few sessions, each with many streams. Another one is opened only where all
 * have as many streams as the backend allows.
 */
import type { EndpointAddress } from "../compile/program.ts";
import { isWorn, type Endpoint, type PoolUse } from "./endpoint.ts";
import { type Http2Deps, Http2Session, type Http2SessionOwner } from "./http2-session.ts";
import type { UpstreamStream } from "./upstream-stream.ts";

export class Http2Endpoint implements Endpoint, Http2SessionOwner {
  readonly address: EndpointAddress;
  readonly text: string;
  inFlight = 0;
  streamsMax = Infinity;
  readonly #deps: Http2Deps;
  readonly #sessions: Http2Session[] = [];

  constructor(address: EndpointAddress, text: string, deps: Http2Deps) {
    this.address = address;
    this.text = text;
    this.#deps = deps;
  }

  hasRoom(use: PoolUse): boolean {
    if ((use.connectionAgeMaxMs ?? use.requestsPerConnectionMax) !== undefined) this.#retire(use);
    return this.mayOpen(use) || this.#sessions.some((session) => session.hasRoom);
  }

  mayOpen({ connectionsPerEndpointMax }: PoolUse): boolean {
    return this.#sessions.length < connectionsPerEndpointMax;
  }

  /** Connections that have had their time or their requests end with what is under way on them. */
  #retire(use: PoolUse): void {
    for (const session of this.#sessions.filter((each) => isWorn(each, use))) session.closeIdle();
  }

  takeIdle(): UpstreamStream | undefined {
    for (const session of this.#sessions) {
      if (session.usable && session.hasRoom) return session.stream(this);
    }
    return undefined;
  }

  open(use: PoolUse): UpstreamStream {
    let session = this.#sessions.find((each) => each.connecting && each.hasRoom);
    if (session === undefined) {
      session = new Http2Session(this.#deps, use, this);
      this.#sessions.push(session);
      this.#deps.live.add(this);
    }
    return session.stream(this);
  }

  gone(session: Http2Session): void {
    const index = this.#sessions.indexOf(session);
    if (index !== -1) this.#sessions.splice(index, 1);
    if (this.#sessions.length === 0) this.#deps.live.delete(this);
  }

  sweep(nowMs: number): void {
    // One that leaves moves the others up: who is passed over is looked at the next time.
    for (const session of this.#sessions) session.sweep(nowMs);
  }

  closeIdle(): void {
    for (const session of this.#sessions.splice(0)) session.closeIdle();
  }
}
