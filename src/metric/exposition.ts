/**
 * What `/metrics` says, in Prometheus' text format. With thousands of busy routes that is megabytes,
 * and the thread that makes them has rollouts to look after: they are made in pieces, and others have
 * their turn between two of them. The process's own metrics are prom-client's.
 */
import { setImmediate as nextTurn } from "node:timers/promises";
import { Registry, collectDefaultMetrics } from "prom-client";
import { FIELD, OUTCOMES, REFUSALS, WORKER_FIELD, WORKER_KEY } from "../shared/metrics.ts";
import { BOUNDS_MS, nameArm, outcomeCount, readAll, splitsOf } from "./reading.ts";
import type { ArmRow, Cumulated, Reading, RouteRow, RowReader, Served } from "./reading.ts";
import { CONTENT_TYPE, type FamilyHead, headText, labelText, sampleText } from "./text.ts";

export interface ExpositionOptions {
  readonly reader: RowReader;
  /** What is being served, or undefined while nothing is compiled. */
  readonly served: () => Served | undefined;
  readonly store: { readonly unsavedCount: number; readonly resourceVersion: number };
  /** Worker threads that live, and how many there should be. */
  readonly workers: () => { readonly live: number; readonly wanted: number };
  /** Notifications not yet delivered, and given up since the start. */
  readonly notifications?: () => { readonly pending: number; readonly dead: number };
  /** Spans by what became of them after they left the workers. */
  readonly spans?: () => { readonly exported: number; readonly failed: number };
  /** Resources whose conditions say that something is wrong, by kind. */
  readonly problems?: () => ReadonlyMap<string, number>;
}

export interface Exposition {
  readonly contentType: string;
  /** The text, made as it is asked for; to be read once. */
  readonly pieces: AsyncIterable<string>;
}

interface Family extends FamilyHead {
  /** The samples, some lines at a time. */
  readonly lines: (reading: Reading) => Iterable<string>;
}

const EMPTY: Reading = { routes: [], arms: [] };
/** prom-client samples the event loop with a ticker; a finer one would cost more than it tells. */
const EVENT_LOOP_PRECISION_MS = 100;
/** A piece is made in about a millisecond. */
const PIECE_CHARS = 64 * 1024;

/**
 * A function that reads everything and writes it as text; the admin API serves it as `/metrics`.
 */
export function createExposition(options: ExpositionOptions): () => Exposition {
  const registry = new Registry();
  collectDefaultMetrics({
    register: registry,
    eventLoopMonitoringPrecision: EVENT_LOOP_PRECISION_MS,
  });
  // Sampled that coarsely an idle event loop seems to lag by the sampling itself.
  for (const { name } of registry.getMetricsAsArray()) {
    if (name.startsWith("nodejs_eventloop_lag")) registry.removeSingleMetric(name);
  }
  const families = [
    ...requestFamilies(),
    ...attemptFamilies(),
    ...streamFamilies(),
    ...splitFamilies(options.served),
    ...processFamilies(options),
    ...furtherFamilies(options),
  ];
  return () => ({ contentType: CONTENT_TYPE, pieces: write(options, registry, families) });
}

async function* write(
  { reader, served }: ExpositionOptions,
  registry: Registry,
  families: readonly Family[],
): AsyncGenerator<string> {
  let text = await registry.metrics();
  const now = served();
  const reading = now === undefined ? EMPTY : await readAll(reader, now);
  for (const family of families) {
    text += `\n${headText(family)}`;
    for (const lines of family.lines(reading)) {
      text += lines;
      if (text.length < PIECE_CHARS) continue;
      yield text;
      text = "";
      await nextTurn();
    }
  }
  yield text;
}

function requestFamilies(): readonly Family[] {
  return [
    ofRoutes({
      name: "sluice_requests_total",
      help: "Requests answered, by route and class of status.",
      counts: [1, 2, 3, 4, 5].map((digit) => [
        `status_class="${digit}xx"`,
        FIELD.response1xx + digit - 1,
      ]),
    }),
    ofRoutes({
      name: "sluice_requests_refused_total",
      help: "Requests that the gateway refused, by route and reason.",
      counts: [
        ['reason="rate_limited"', FIELD.limited],
        ['reason="unauthenticated"', FIELD.unauthenticated],
      ],
    }),
    ofRoutes({
      name: "sluice_mirror_requests_total",
      help: "Copies of requests for mirrors, by route: answered, not answered, or given up in their body.",
      counts: [
        ['outcome="delivered"', FIELD.mirrorDelivered],
        ['outcome="failed"', FIELD.mirrorFailed],
        ['outcome="dropped"', FIELD.mirrorDropped],
      ],
    }),
    ofRoutes({
      name: "sluice_client_gone_total",
      help: "Requests whose client left before the answer was complete, by route.",
      counts: [["", FIELD.clientGone]],
    }),
  ];
}

function attemptFamilies(): readonly Family[] {
  return [
    {
      name: "sluice_attempts_total",
      help: "Attempts on a revision of a backend, by outcome; all but ok are its errors.",
      type: "counter",
      lines: ({ arms }) =>
        each(arms, ({ labels, sums }) =>
          OUTCOMES.map((outcome, index) => {
            const value = outcomeCount(sums, index);
            // A revision without failures says so, for its error rate is a quotient.
            const own = joined(`outcome="${outcome}"`, labels);
            return outcome === "ok" || value !== 0
              ? sampleText("sluice_attempts_total", own, value)
              : "";
          }).join(""),
        ),
    },
    ofArms({
      name: "sluice_attempts_shielded_total",
      help: "Failed attempts whose request another revision then answered.",
      counts: [["", FIELD.shielded]],
    }),
    histogram({
      name: "sluice_attempt_duration_seconds",
      help: "Time from an attempt's dispatch to the end of its response.",
      read: ({ latency, sums }) => [latency, sums[FIELD.latencySumMs] as number],
    }),
  ];
}

function streamFamilies(): readonly Family[] {
  return [
    ofArms({
      name: "sluice_llm_tokens_total",
      help: "Tokens as LLM providers reported them, by direction.",
      counts: [
        ['direction="input"', FIELD.inputTokens],
        ['direction="output"', FIELD.outputTokens],
      ],
    }),
    histogram({
      name: "sluice_llm_first_token_seconds",
      help: "Time to the first token of streamed LLM answers.",
      read: ({ firstToken, sums }) => [firstToken, sums[FIELD.firstTokenSumMs] as number],
    }),
  ];
}

/** The role of a revision is told here, as a state of the moment beside the counters. */
function splitFamilies(served: ExpositionOptions["served"]): readonly Family[] {
  const name = "sluice_revision_weight_ratio";
  return [
    {
      name,
      help: "Share of requests that a revision of a backend is meant to get, and its role.",
      type: "gauge",
      lines: () =>
        each(splitsOf(served()?.parts ?? new Map()), ({ arms, key }) =>
          arms
            .map(({ id, version, role, weightBp }) => {
              const split = key.slice("split/".length);
              const labels = labelText({ split, ...nameArm(id), version, role });
              return sampleText(name, labels, weightBp / 10_000);
            })
            .join(""),
        ),
    },
  ];
}

function processFamilies(options: ExpositionOptions): readonly Family[] {
  const { store, workers, reader } = options;
  const overflow = (): number => {
    const sums = reader.read("", "overflow") ?? new Float64Array(OUTCOMES.length);
    return OUTCOMES.reduce((total, _, index) => total + outcomeCount(sums, index), 0);
  };
  const worker = (field: number): number => workerCount(reader, field);
  return [
    counter("sluice_connections_total", "Client connections accepted.", () =>
      worker(WORKER_FIELD.connections),
    ),
    {
      name: "sluice_connections_refused_total",
      help: "Client connections that ended before a request, by reason.",
      type: "counter",
      lines: () =>
        REFUSALS.map((reason, index) =>
          counted(
            "sluice_connections_refused_total",
            labelText({ reason }),
            worker(WORKER_FIELD.refused + index),
          ),
        ),
    },
    counter("sluice_access_log_dropped_total", "Access-log lines that were not written.", () =>
      worker(WORKER_FIELD.accessLogDropped),
    ),
    gauge("sluice_workers", "Worker threads that serve.", () => workers().live),
    gauge("sluice_workers_wanted", "Worker threads there should be.", () => workers().wanted),
    gauge(
      "sluice_store_unsaved",
      "Statuses in memory that the disk refuses.",
      () => store.unsavedCount,
    ),
    gauge("sluice_store_version", "The store's resourceVersion.", () => store.resourceVersion),
    counter(
      "sluice_metric_overflow_total",
      "Attempts counted without a row of their own.",
      overflow,
    ),
  ];
}

function workerCount(reader: RowReader, field: number): number {
  return reader.read(WORKER_KEY.route, WORKER_KEY.armId)?.[field] ?? 0;
}

/** What not every control thread has to tell. */
function furtherFamilies({
  notifications,
  spans,
  problems,
  reader,
}: ExpositionOptions): readonly Family[] {
  const families: Family[] = [];
  if (notifications !== undefined) {
    const [pending, dead] = [() => notifications().pending, () => notifications().dead];
    families.push(
      gauge("sluice_notifications_pending", "Notifications not yet delivered.", pending),
      counter("sluice_notifications_dead_total", "Notifications given up.", dead),
    );
  }
  if (spans !== undefined) {
    const name = "sluice_spans_total";
    families.push({
      name,
      help: "Spans by what became of them: exported, refused by the collector, or dropped before.",
      type: "counter",
      lines: () => [
        counted(name, 'outcome="exported"', spans().exported),
        counted(name, 'outcome="failed"', spans().failed),
        counted(name, 'outcome="dropped"', workerCount(reader, WORKER_FIELD.spansDropped)),
      ],
    });
  }
  if (problems !== undefined) {
    const name = "sluice_resource_problems";
    families.push({
      name,
      help: "Resources whose conditions say that something is wrong, by kind.",
      type: "gauge",
      lines: () =>
        [...problems()].map(([kind, value]) => sampleText(name, labelText({ kind }), value)),
    });
  }
  return families;
}

function gauge(name: string, help: string, value: () => number): Family {
  return { name, help, type: "gauge", lines: () => [sampleText(name, "", value())] };
}

function counter(name: string, help: string, value: () => number): Family {
  return { ...gauge(name, help, value), type: "counter" };
}

interface CounterFamily {
  readonly name: string;
  readonly help: string;
  /** The label that sets it apart, "" for none, and the field of a row. */
  readonly counts: readonly (readonly [label: string, field: number])[];
}

function ofRoutes(definition: CounterFamily): Family {
  return fieldsOf(definition, ({ routes }) => routes);
}

function ofArms(definition: CounterFamily): Family {
  return fieldsOf(definition, ({ arms }) => arms);
}

function fieldsOf(
  { name, help, counts }: CounterFamily,
  rowsOf: (reading: Reading) => readonly Pick<RouteRow, "labels" | "sums">[],
): Family {
  const linesOf = ({ labels, sums }: Pick<RouteRow, "labels" | "sums">): string =>
    counts
      .map(([own, field]) => counted(name, joined(own, labels), sums[field] as number))
      .join("");
  return { name, help, type: "counter", lines: (reading) => each(rowsOf(reading), linesOf) };
}

interface HistogramFamily {
  readonly name: string;
  readonly help: string;
  readonly read: (row: ArmRow) => readonly [cumulated: Cumulated, sumMs: number];
}

const LE = BOUNDS_MS.map((bound) => `le="${bound / 1000}"`);

function histogram({ name, help, read }: HistogramFamily): Family {
  const linesOf = (row: ArmRow): string => {
    const [{ below, count }, sumMs] = read(row);
    if (count === 0) return "";
    const { labels } = row;
    const buckets = below.map((value, index) =>
      sampleText(`${name}_bucket`, joined(LE[index] as string, labels), value),
    );
    return (
      buckets.join("") +
      sampleText(`${name}_bucket`, joined('le="+Inf"', labels), count) +
      sampleText(`${name}_sum`, labels, sumMs / 1000) +
      sampleText(`${name}_count`, labels, count)
    );
  };
  return { name, help, type: "histogram", lines: ({ arms }) => each(arms, linesOf) };
}

/** The lines of one row after the other, made when they are asked for. */
function* each<Row>(rows: readonly Row[], linesOf: (row: Row) => string): Generator<string> {
  for (const row of rows) yield linesOf(row);
}

/** Labels of a sample before those that it has in common with its row. */
function joined(own: string, shared: string): string {
  return own === "" || shared === "" ? own + shared : `${own},${shared}`;
}

/** A series begins with its first count, so that labels which never occur cost no line. */
function counted(name: string, labels: string, value: number): string {
  return value === 0 ? "" : sampleText(name, labels, value);
}
