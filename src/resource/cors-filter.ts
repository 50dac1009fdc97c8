/**
 * The CORS filter (Gateway API HTTPCORSFilter): which pages of other origins may call a route. The
 * Fetch standard says what the fields mean to browsers.
 */
import { z } from "zod";
import { headerName } from "./format.ts";
import {
  choice,
  integer,
  object,
  type Refuse,
  refuseDuplicates,
  text,
  throughout,
} from "./schema.ts";

const ORIGIN = /^\*$|^[a-zA-Z][a-zA-Z0-9+\-.]+:\/\/[^:/?#\s"\\@,]+(:[0-9]{1,5})?$/;

const origin = text(ORIGIN, 'an origin such as "https://shop.example.com", or "*"').describe(
  'Scheme, host and port, as browsers send them; one "*" in the host stands for any text.',
);

const SECONDS_MAX = 2_147_483_647;

const corsFields = object({
  allowOrigins: z
    .array(origin)
    .max(64)
    .exactOptional()
    .describe('Origins that may call; "*" alone for all, none where absent.'),
  allowCredentials: z
    .boolean()
    .exactOptional()
    .describe("true: with cookies and other credentials."),
  allowMethods: z
    .array(
      choice(["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "*"]),
    )
    .max(9)
    .exactOptional()
    .describe('Methods beside GET, HEAD and POST; "*" alone for all.'),
  allowHeaders: z
    .array(headerName())
    .max(64)
    .exactOptional()
    .describe('Request headers that pages may set; "*" alone for all.'),
  exposeHeaders: z
    .array(headerName())
    .max(64)
    .exactOptional()
    .describe('Response headers that pages may read; "*" for all, without credentials.'),
  maxAge: integer(1, SECONDS_MAX)
    .default(5)
    .describe("Seconds for which browsers remember what a preflight said."),
});

export type CorsFilter = z.infer<typeof corsFields>;

export const cors = corsFields.superRefine(...throughout(checkCors));

const LISTS = ["allowOrigins", "allowMethods", "allowHeaders", "exposeHeaders"] as const;

function checkCors(filter: CorsFilter, refuse: Refuse): void {
  for (const list of LISTS) {
    const items: readonly string[] | undefined = filter[list];
    const isName = list === "allowHeaders" || list === "exposeHeaders";
    const keyOfItem = (item: string): string => (isName ? item.toLowerCase() : item);
    refuseDuplicates(items, { path: [list], keyOfItem, what: "the entry" }, refuse);
    const star = items?.indexOf("*") ?? -1;
    if (list !== "exposeHeaders" && star !== -1 && (items?.length ?? 0) > 1) {
      refuse([list, star], '"*" must stand alone');
    }
  }
  for (const [index, item] of (filter.allowOrigins ?? []).entries()) {
    const problem = originProblem(item);
    if (problem !== undefined) refuse(["allowOrigins", index], problem);
  }
}

function originProblem(item: string): string | undefined {
  const stars = item.split("*").length - 1;
  if (stars > 1) return 'may have one "*"';
  const port = /:(\d+)$/.exec(item)?.[1];
  if (port === undefined || (Number(port) >= 1 && Number(port) <= 65_535)) return undefined;
  return `must have a port from 1 to 65535, has ${port}`;
}
