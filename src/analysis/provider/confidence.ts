/**
 * How far chance may have moved a measurement. A share of few samples strays: of 20 requests of
 * which one in a hundred fails, two fail once in sixty times. A verdict against a canary that rests
 * on such a value is not acted on before it is certain or has lasted (see plan-run.ts).
 */

/** Standard deviations of a one-sided confidence of 95 %. */
const Z = 1.645;

/** Between which values the true one lies, with confidence. */
export interface Range {
  readonly low: number;
  readonly high: number;
}

/** The range of a share of `total` samples, `hits` of them counted (Wilson's score interval). */
export function rangeOfShare(hits: number, total: number): Range {
  const share = hits / total;
  const scale = 1 + (Z * Z) / total;
  const center = share + (Z * Z) / (2 * total);
  const spread = Z * Math.sqrt((share * (1 - share)) / total + (Z * Z) / (4 * total * total));
  return {
    low: Math.max(0, (center - spread) / scale),
    high: Math.min(1, (center + spread) / scale),
  };
}

/** The quantiles between which the true `quantile` of `total` samples stands. */
export function rangeOfQuantile(quantile: number, total: number): Range {
  const spread = Z * Math.sqrt((quantile * (1 - quantile)) / total);
  return { low: Math.max(0, quantile - spread), high: Math.min(1, quantile + spread) };
}

/** The range of canary - stable. */
export function rangeOfDifference(canary: Range, stable: Range): Range {
  return { low: canary.low - stable.high, high: canary.high - stable.low };
}

/** The range of canary / stable. */
export function rangeOfRatio(canary: Range, stable: Range): Range {
  return {
    low: canary.low / stable.high || 0,
    high: stable.low === 0 ? Infinity : canary.high / stable.low,
  };
}
