/**
 * The histogram's buckets: log-linear, eight to each doubling, from 2^-4 ms to 2^17 ms. A quantile
 * read from them is off by at most one eighth of its octave.
 */

const OCTAVE_MIN = -4;
const OCTAVE_MAX = 17;
const PER_OCTAVE = 8;

export const BUCKETS = (OCTAVE_MAX - OCTAVE_MIN) * PER_OCTAVE + 1;

/** The bucket that counts `value`; smaller and larger values go to the first and the last. */
export function bucketOf(value: number): number {
  if (!(value > 2 ** OCTAVE_MIN)) return 0;
  const octave = Math.floor(Math.log2(value));
  if (octave >= OCTAVE_MAX) return BUCKETS - 1;
  const within = Math.floor((value / 2 ** octave - 1) * PER_OCTAVE);
  return (octave - OCTAVE_MIN) * PER_OCTAVE + Math.min(within, PER_OCTAVE - 1);
}

/** The smallest value above bucket `index`: its upper bound. */
export function bucketBound(index: number): number {
  if (index >= BUCKETS - 1) return Infinity;
  const octave = OCTAVE_MIN + Math.floor(index / PER_OCTAVE);
  return 2 ** octave * (1 + ((index % PER_OCTAVE) + 1) / PER_OCTAVE);
}

/** The `quantile` (0 to 1) of counts, interpolated inside its bucket; undefined without counts. */
export function quantileOf(counts: ArrayLike<number>, quantile: number): number | undefined {
  let total = 0;
  for (let index = 0; index < BUCKETS; index++) total += counts[index] as number;
  if (total === 0) return undefined;
  const rank = quantile * total;
  let below = 0;
  for (let index = 0; index < BUCKETS; index++) {
    const count = counts[index] as number;
    if (count > 0 && below + count >= rank) {
      const lower = index === 0 ? 0 : bucketBound(index - 1);
      const upper = bucketBound(index);
      return upper === Infinity ? lower : lower + ((upper - lower) * (rank - below)) / count;
    }
    below += count;
  }
  return bucketBound(BUCKETS - 2);
}
