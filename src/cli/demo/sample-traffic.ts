/** A steady stream of requests to the demo's gateway, and what came back, by version and by status. */
import { Pool } from "undici";

export interface TrafficCounts {
  requests: number;
  failed: number;
  readonly byVersion: Map<string, number>;
}

export interface SampleTraffic {
  readonly counts: TrafficCounts;
  stop(): Promise<void>;
}

const TICK_MS = 20;
const CONNECTIONS = 16;

/** Sends `perSecond` GET requests a second to `origin`, on a fixed beat whatever the answers take. */
export function startSampleTraffic(origin: string, perSecond: number): SampleTraffic {
  const pool = new Pool(origin, { connections: CONNECTIONS });
  const counts: TrafficCounts = { requests: 0, failed: 0, byVersion: new Map() };
  const ask = async (): Promise<void> => {
    counts.requests += 1;
    try {
      const response = await pool.request({ method: "GET", path: "/cart" });
      const body = (await response.body.json()) as { version?: string };
      if (response.statusCode >= 500) counts.failed += 1;
      const version = body.version ?? "?";
      counts.byVersion.set(version, (counts.byVersion.get(version) ?? 0) + 1);
    } catch {
      counts.failed += 1;
    }
  };
  const ticker = setInterval(() => {
    for (let sent = 0; sent < (perSecond * TICK_MS) / 1000; sent++) void ask();
  }, TICK_MS);
  return {
    counts,
    stop: async () => {
      clearInterval(ticker);
      await pool.destroy();
    },
  };
}
