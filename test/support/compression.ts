/** Rules that compress, bodies worth it, and what a client makes of what it got. */
import zlib from "node:zlib";
import type { Part, PoolPart, RulePart } from "../../src/compile/program.ts";
import type { Compression } from "../../src/compile/rule-part.ts";
import { oneRoute } from "./gateway.ts";

export const CODINGS = ["gzip", "br", "zstd"] as const;
export type Coding = (typeof CODINGS)[number];

export const COMPRESSION: Compression = {
  encodings: [
    { name: "br", level: 3 },
    { name: "zstd", level: 3 },
    { name: "gzip", level: 6 },
  ],
  minBytes: 100,
  contentTypes: ["text/plain", "application/json"],
};

/** One route to `port` whose responses are compressed. */
export function compressing(
  port: number,
  {
    compression,
    rule,
    pool,
  }: {
    compression?: Partial<Compression>;
    rule?: Partial<RulePart>;
    pool?: Partial<PoolPart>;
  } = {},
): Part[] {
  return oneRoute({
    stable: [port],
    rule: { compression: { ...COMPRESSION, ...compression }, ...rule },
    ...(pool !== undefined && { pool }),
  });
}

/** JSON of at least so many bytes, as an API might send it. */
export function jsonOf(bytes: number): string {
  const rows: string[] = [];
  let length = 2;
  for (let id = 0; length < bytes; id++) {
    const row = JSON.stringify({ id, name: `user ${id * 7919}`, tags: ["a", "b"], score: id / 7 });
    rows.push(row);
    length += row.length + 1;
  }
  return `[${rows.join(",")}]`;
}

/** What a complete body was before it was coded; throws where it is not whole. */
export function decoded(coding: string | undefined, body: Buffer): string {
  if (coding === undefined) return body.toString("latin1");
  if (coding === "gzip") return zlib.gunzipSync(body).toString("latin1");
  if (coding === "br") return zlib.brotliDecompressSync(body).toString("latin1");
  if (coding === "zstd") return zlib.zstdDecompressSync(body).toString("latin1");
  throw new Error(`No such coding: ${coding}`);
}

export function decoderOf(
  coding: Coding,
): zlib.Gunzip | zlib.BrotliDecompress | zlib.ZstdDecompress {
  if (coding === "gzip") return zlib.createGunzip();
  return coding === "br" ? zlib.createBrotliDecompress() : zlib.createZstdDecompress();
}
