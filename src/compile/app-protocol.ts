/**
 * What a backend speaks: `appProtocol` of a Service's port (KEP-3726, IANA names) and
 * `appProtocols` of a Backend (Envoy Gateway).
 */
import type { PoolPart } from "./program.ts";

export interface AppProtocol {
  /** Over TLS where the backend has it; absent: HTTP/1.1. */
  readonly http2?: true;
  /** Only to be spoken with TLS. */
  readonly tls?: true;
  /** WebSocket, which no gRPC call can be sent to. */
  readonly websocket?: true;
}

const PLAIN: AppProtocol = {};

const PROTOCOLS: Readonly<Record<string, AppProtocol>> = {
  http: PLAIN,
  "kubernetes.io/http": PLAIN,
  http2: { http2: true },
  h2c: { http2: true },
  "kubernetes.io/h2c": { http2: true },
  "gateway.envoyproxy.io/h2c": { http2: true },
  grpc: { http2: true },
  ws: { websocket: true },
  "kubernetes.io/ws": { websocket: true },
  "gateway.envoyproxy.io/ws": { websocket: true },
  https: { tls: true },
  wss: { tls: true, websocket: true },
  "kubernetes.io/wss": { tls: true, websocket: true },
  "gateway.envoyproxy.io/wss": { tls: true, websocket: true },
};

/** Undefined for a protocol that is not known. */
export function appProtocolOf(name: string | undefined): AppProtocol | undefined {
  if (name === undefined || name === "") return PLAIN;
  const lower = name.toLowerCase();
  return Object.hasOwn(PROTOCOLS, lower) ? PROTOCOLS[lower] : undefined;
}

/** The `protocol` of a pool, as a part of it. */
export function poolProtocol(
  { http2 }: AppProtocol,
  tls: PoolPart["tls"],
): Pick<PoolPart, "protocol"> {
  if (http2 === undefined) return {};
  return { protocol: tls === undefined ? "h2c" : "h2" };
}
