/**
 * Measuring: CPU time from /proc around a run of load, in rounds in which the proxies take turns, and
 * the ratio of neighbours within a round. What disturbs the machine disturbs both.
 */
import { readdirSync, readFileSync } from "node:fs";
import type { Load } from "./load.ts";
import { LOAD_CORE, say, type Runner } from "./machine.ts";

/** Clock ticks of /proc per second (USER_HZ, fixed at 100 on Linux). */
const TICKS_PER_SECOND = 100;

export interface Measured {
  /** CPU time of the proxy per thing done: a request, a message, a megabyte. */
  readonly microseconds: number;
  readonly perSecond: number;
  /** Share of its core that the proxy used. */
  readonly busy: number;
  /** Share of the other core that was used, by load, origins and whatever else runs. */
  readonly loadBusy: number;
  readonly errors: number;
}

export async function measure(runner: Runner, load: Load, seconds: number): Promise<Measured> {
  const pid = runner.process.pid as number;
  const before = cpuTicks(pid);
  const loadBefore = coreTicks(LOAD_CORE);
  const startedMs = performance.now();
  const { done, errors } = await load(runner, seconds);
  const elapsed = (performance.now() - startedMs) / 1000;
  const loadAfter = coreTicks(LOAD_CORE);
  const cpuSeconds = (cpuTicks(pid) - before) / TICKS_PER_SECOND;
  return {
    microseconds: (cpuSeconds * 1e6) / done,
    perSecond: done / elapsed,
    // A load takes a moment to start, and loads that are told an amount take the time they take.
    busy: cpuSeconds / Math.min(seconds, elapsed),
    loadBusy: 1 - (loadAfter.idle - loadBefore.idle) / (loadAfter.all - loadBefore.all),
    errors,
  };
}

export interface RoundsOptions {
  readonly load: Load;
  readonly rounds: number;
  readonly seconds: number;
}

/** Measured runs of each runner by its name, in the order of the rounds. */
export type Rounds = ReadonlyMap<string, readonly Measured[]>;

/** Every second round goes backwards, so that no proxy is always the one after another. */
export async function runRounds(
  runners: readonly Runner[],
  { load, rounds, seconds }: RoundsOptions,
): Promise<Rounds> {
  const all = new Map<string, Measured[]>(runners.map(({ name }) => [name, []]));
  for (const runner of runners) await measure(runner, load, Math.min(seconds, 2));
  for (let turn = 0; turn < rounds; turn++) {
    const order = turn % 2 === 0 ? runners : runners.toReversed();
    for (const runner of order) {
      const measured = await measure(runner, load, seconds);
      all.get(runner.name)?.push(measured);
      say(`round ${turn + 1}: ${runner.name} ${show(measured)}`);
    }
  }
  return all;
}

export interface Ratio {
  readonly median: number;
  readonly min: number;
  readonly max: number;
}

/** How many times as much CPU `name` needs for the same as `against`, by rounds. */
export function ratioOf(rounds: Rounds, name: string, against: string): Ratio {
  const others = rounds.get(against) ?? [];
  const ratios = (rounds.get(name) ?? []).map(
    ({ microseconds }, turn) => microseconds / (others[turn]?.microseconds ?? Number.NaN),
  );
  return spread(ratios);
}

export function spread(values: readonly number[]): Ratio {
  return {
    median: round(median(values)),
    min: round(Math.min(...values)),
    max: round(Math.max(...values)),
  };
}

/** CPU time per thing, by name, and how far the measurement can be trusted. */
export function table(rounds: Rounds): Record<string, unknown> {
  const all = [...rounds.values()].flat();
  return {
    microseconds: Object.fromEntries(
      [...rounds].map(([name, runs]) => [
        name,
        round(median(runs.map(({ microseconds }) => microseconds))),
      ]),
    ),
    busyMin: round(Math.min(...all.map(({ busy }) => busy))),
    loadBusyMax: round(Math.max(...all.map(({ loadBusy }) => loadBusy))),
    errors: all.reduce((sum, { errors }) => sum + errors, 0),
  };
}

/** User and system time of a process and its children, all threads, in clock ticks. */
function cpuTicks(pid: number): number {
  let ticks = 0;
  for (const entry of readdirSync("/proc")) {
    if (!/^\d+$/.test(entry)) continue;
    const fields = statFields(entry);
    if (fields === undefined) continue;
    // proc(5): state is the first field after the name, ppid the second, utime and stime follow.
    const isOurs = Number(entry) === pid || Number(fields[1]) === pid;
    if (isOurs) ticks += Number(fields[11]) + Number(fields[12]);
  }
  return ticks;
}

function statFields(pid: string): string[] | undefined {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, "utf8");
    return text.slice(text.lastIndexOf(")") + 2).split(" ");
  } catch {
    // The process has ended since the folder was listed.
    return undefined;
  }
}

/** How long a core has been idle and has existed, in clock ticks (proc_stat(5)). */
function coreTicks(core: string): { idle: number; all: number } {
  const lines = readFileSync("/proc/stat", "utf8").split("\n");
  const fields =
    lines
      .find((line) => line.startsWith(`cpu${core} `))
      ?.split(" ")
      .map(Number) ?? [];
  // user, nice, system, idle, iowait, irq, softirq, steal; guest time is in user's already.
  const times = fields.slice(1, 9);
  return {
    idle: (times[3] ?? 0) + (times[4] ?? 0),
    all: times.reduce((sum, ticks) => sum + ticks, 0),
  };
}

/** Resident memory of a process, in bytes (proc_pid_status(5), VmRSS). */
export function residentBytes(pid: number, { withChildren = false } = {}): number {
  let kilobytes = 0;
  for (const entry of withChildren ? readdirSync("/proc") : [String(pid)]) {
    if (!/^\d+$/.test(entry)) continue;
    const status = statusOf(entry);
    const ours = Number(entry) === pid || status.includes(`\nPPid:\t${pid}\n`);
    if (ours) kilobytes += Number(/VmRSS:\s+(\d+) kB/.exec(status)?.[1] ?? 0);
  }
  return kilobytes * 1024;
}

function statusOf(pid: string): string {
  try {
    return readFileSync(`/proc/${pid}/status`, "utf8");
  } catch {
    return "";
  }
}

export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  const upper = sorted[middle] ?? 0;
  return sorted.length % 2 === 1 ? upper : (upper + (sorted[middle - 1] ?? 0)) / 2;
}

export function round(value: number, digits = 2): number {
  return Math.round(value * 10 ** digits) / 10 ** digits;
}

function percent(share: number): number {
  return Math.round(share * 100);
}

function show({ microseconds, perSecond, busy, loadBusy, errors }: Measured): string {
  const failed = errors === 0 ? "" : `, ${errors} errors`;
  return `${round(microseconds)} µs (${Math.round(perSecond)}/s, core ${percent(busy)} %, load ${percent(loadBusy)} %${failed})`;
}
