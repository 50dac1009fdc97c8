/**
 * The threads of libuv, which all threads of the process share: what compresses, looks up names and reads
 * files for them. Node has four, however many processors there are.
 */

/** As many as libuv has by itself. */
const THREADS_MIN = 4;

/**
 * Has libuv use as many threads as there are processors, where there are more than four, unless the
 * environment says how many. Only before anything has been done by one of them.
 */
export function sizeThreadPool(processors: number): void {
  process.env["UV_THREADPOOL_SIZE"] ??= String(Math.max(processors, THREADS_MIN));
}
