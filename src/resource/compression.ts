/**
 * Compression of responses (Envoy Gateway Compression), with `contentTypes`, which Envoy Gateway
 * does not have: what is compressed, and so the way to ask for event streams too.
 */
import { z } from "zod";
import { jsonEqual } from "../base/json.ts";
import { parseQuantity } from "./quantity.ts";
import {
  across,
  choice,
  integer,
  object,
  type Refuse,
  refuseDuplicates,
  text,
  throughout,
} from "./schema.ts";

/** Gateways' own data fits into this; a quantity beyond it is a mistake. */
const BYTES_MAX = 2 ** 40;

/** Kubernetes' quantity of bytes, 1 or more: 1024, "64Ki", "10Mi". */
export function byteQuantity(): z.ZodUnion<readonly [z.ZodNumber, z.ZodString]> {
  return z
    .union([z.number(), z.string().max(32)], { error: "must be a number of bytes or a quantity" })
    .refine(
      (value) => {
        const bytes = parseQuantity(value) ?? 0;
        return bytes >= 1 && bytes <= BYTES_MAX;
      },
      { error: 'must be a number of bytes from 1 to 1Ti, such as 65536, "64Ki" or "10Mi"' },
    );
}

const MEDIA_TYPE = /^[a-z0-9!#$&^_.+-]+\/[a-z0-9!#$&^_.+-]+$/;

const TUNING = ["compressionStrategy", "memoryLevel", "windowBits", "chunkSize"];

const compressorFields = object({
  type: choice(["Gzip", "Brotli", "Zstd"]).describe("How responses are compressed."),
  gzip: object(
    {
      compressionLevel: integer(1, 9)
        .exactOptional()
        .describe("1: fastest, 9: smallest; 6 where absent."),
    },
    { unsupported: TUNING },
  )
    .exactOptional()
    .describe("For type Gzip."),
  brotli: object(
    {
      quality: integer(0, 11).exactOptional().describe("0: fastest, 11: smallest; 3 where absent."),
    },
    {
      unsupported: [
        "encoderMode",
        "windowBits",
        "inputBlockBits",
        "chunkSize",
        "disableLiteralContextModeling",
      ],
    },
  )
    .exactOptional()
    .describe("For type Brotli."),
  zstd: object(
    {
      compressionLevel: integer(1, 22)
        .exactOptional()
        .describe("1: fastest, 22: smallest; 3 where absent."),
    },
    { unsupported: ["enableChecksum", "strategy", "chunkSize"] },
  )
    .exactOptional()
    .describe("For type Zstd."),
  minContentLength: byteQuantity()
    .exactOptional()
    .describe("Shorter responses go as they are; 1024 where absent."),
  contentTypes: z
    .array(text(MEDIA_TYPE, 'a media type in lower case such as "text/html"', 127))
    .min(1)
    .max(64)
    .exactOptional()
    .describe(
      "What is compressed; text, JSON, JavaScript, XML and SVG where absent. Event streams are " +
        "compressed only where text/event-stream is named.",
    ),
});

export type Compressor = z.infer<typeof compressorFields>;

const FIELD_OF_TYPE = { Gzip: "gzip", Brotli: "brotli", Zstd: "zstd" } as const;

const compressor = compressorFields.superRefine(
  across((value: Compressor, refuse) => {
    for (const [type, field] of Object.entries(FIELD_OF_TYPE)) {
      if (type === value.type || value[field] === undefined) continue;
      refuse([field], `must be absent for type ${value.type}; it belongs to type ${type}`);
    }
  }),
);

/** `compressor`, and the older `compression`, in the order in which the gateway would choose. */
export const compressors = z
  .array(compressor)
  .min(1)
  .max(3)
  .superRefine(...throughout(checkCompressors));

const SHARED = ["minContentLength", "contentTypes"] as const;

function checkCompressors(list: readonly Compressor[], refuse: Refuse): void {
  refuseDuplicates(
    list,
    { path: [], field: "type", keyOfItem: (item) => item.type, what: "the type" },
    refuse,
  );
  for (const [index, item] of list.entries()) {
    for (const field of SHARED) {
      if (jsonEqual(item[field], list[0]?.[field])) continue;
      refuse([index, field], "must be the same in all entries");
    }
  }
}
