/**
 * Which content coding a client gets (RFC 9110 §12.5.3): what it accepts, weighed as it says, and
 * where it has no preference the gateway's own order.
 */

/** A coding and its weight; what is not of this form says nothing. */
const ITEM =
  /^[\t ]*([!#$%&'*+\-.^_`|~0-9A-Za-z]+)(?:[\t ]*;[\t ]*[qQ]=(0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?))?[\t ]*$/;

/** Older names of codings (RFC 9110 §8.4.1). */
const ALIASES: ReadonlyMap<string, string> = new Map([["x-gzip", "gzip"]]);

/**
 * The first of `offered` that nothing else is preferred to; undefined where the answer goes as it is. A
 * client that names no coding is given none, though it would have to take any: it may be an old one.
 */
export function chooseEncoding<Encoding extends { readonly name: string }>(
  accepted: string | undefined,
  offered: readonly Encoding[],
): Encoding | undefined {
  if (accepted === undefined) return undefined;
  const weights = readWeights(accepted);
  const rest = weights.get("*") ?? 0;
  let best: Encoding | undefined;
  let bestWeight = 0;
  for (const encoding of offered) {
    const weight = weights.get(encoding.name) ?? rest;
    if (weight <= bestWeight) continue;
    best = encoding;
    bestWeight = weight;
  }
  // What is not coded is acceptable unless it is excluded, but wanted only where it is named.
  return bestWeight < (weights.get("identity") ?? rest) ? undefined : best;
}

/** Where a coding is named twice the first time counts. */
function readWeights(accepted: string): ReadonlyMap<string, number> {
  const weights = new Map<string, number>();
  for (const item of accepted.split(",")) {
    const [, coding, weight = "1"] = ITEM.exec(item) ?? [];
    if (coding === undefined) continue;
    const lower = coding.toLowerCase();
    const name = ALIASES.get(lower) ?? lower;
    if (!weights.has(name)) weights.set(name, Number(weight));
  }
  return weights;
}
