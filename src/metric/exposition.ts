/**
 * What `/metrics` says, in Prometheus' text format. Counters and histograms live in shared memory
 * and are only read here; prom-client can neither set a Counter nor fill a Histogram, so each
 * metric is an object whose `get` returns the values of the reading at hand.
 */
import { Gauge, Registry, collectDefaultMetrics } from "prom-client";
import { FIELD, OUTCOMES, REFUSALS, WORKER_FIELD, WORKER_KEY } from "../shared/metrics.ts";
import { BOUNDS_MS, cumulate, nameArm, outcomeCount, readAll, splitsOf } from "./reading.ts";
import type { ArmRow, Reading, RouteRow, RowReader, Served } from "./reading.ts";

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
  readonly text: string;
}

interface Value {
  readonly labels: Readonly<Record<string, string | number>>;
  /** Labels that many series of a row have in common: prom-client writes them out once. */
  readonly sharedLabels?: Readonly<Record<string, string>>;
  readonly value: number;
  /** Where it is not the metric's own: a histogram's "_bucket", "_sum" and "_count". */
  readonly metricName?: string;
}

interface Definition {
  readonly name: string;
  readonly help: string;
  readonly type: "counter" | "gauge" | "histogram";
  readonly values: () => readonly Value[];
}

const EMPTY: Reading = { routes: [], arms: [] };
/** prom-client samples the event loop with a ticker; a finer one would cost more than it tells. */
const EVENT_LOOP_PRECISION_MS = 100;

/**
 * A function that reads everything and writes it as text; the admin API serves it as `/metrics`.
 */
export function createExposition(options: ExpositionOptions): () => Promise<Exposition> {
  const registry = new Registry();
  collectDefaultMetrics({
    register: registry,
    eventLoopMonitoringPrecision: EVENT_LOOP_PRECISION_MS,
  });
  // Sampled that coarsely an idle event loop seems to lag by the sampling itself.
  for (const { name } of registry.getMetricsAsArray()) {
    if (name.startsWith("nodejs_eventloop_lag")) registry.removeSingleMetric(name);
  }
  let reading = EMPTY;
  const definitions = [
    ...requestMetrics(() => reading),
    ...attemptMetrics(() => reading),
    ...streamMetrics(() => reading),
    ...splitMetrics(options.served),
    ...processMetrics(options),
  ];
  for (const definition of definitions) register(registry, definition);
  return async () => {
    const served = options.served();
    reading = served === undefined ? EMPTY : readAll(options.reader, served);
    return { contentType: registry.contentType, text: await registry.metrics() };
  };
}

function register(registry: Registry, definition: Definition): void {
  const { name, help, type, values } = definition;
  const metric = new Gauge({ name, help, registers: [] });
  const get = async (): Promise<object> => ({ name, help, type, values: values() });
  registry.registerMetric(Object.assign(metric, { get }));
}

function requestMetrics(reading: () => Reading): readonly Definition[] {
  return [
    {
      name: "sluice_requests_total",
      help: "Requests answered, by route and class of status.",
      type: "counter",
      values: () =>
        reading().routes.flatMap(({ labels, sums }) =>
          [1, 2, 3, 4, 5].flatMap((digit) =>
            counted(labels, { status_class: `${digit}xx` }, sums[FIELD.response1xx + digit - 1]),
          ),
        ),
    },
    {
      name: "sluice_requests_refused_total",
      help: "Requests that the gateway refused, by route and reason.",
      type: "counter",
      values: () =>
        reading().routes.flatMap((row) =>
          fieldValues(row, "reason", [
            ["rate_limited", FIELD.limited],
            ["unauthenticated", FIELD.unauthenticated],
          ]),
        ),
    },
    {
      name: "sluice_mirror_requests_total",
      help: "Copies of requests for mirrors, by route: answered, not answered, or given up in their body.",
      type: "counter",
      values: () =>
        reading().routes.flatMap((row) =>
          fieldValues(row, "outcome", [
            ["delivered", FIELD.mirrorDelivered],
            ["failed", FIELD.mirrorFailed],
            ["dropped", FIELD.mirrorDropped],
          ]),
        ),
    },
    {
      name: "sluice_client_gone_total",
      help: "Requests whose client left before the answer was complete, by route.",
      type: "counter",
      values: () =>
        reading().routes.flatMap(({ labels, sums }) => counted(labels, {}, sums[FIELD.clientGone])),
    },
  ];
}

function attemptMetrics(reading: () => Reading): readonly Definition[] {
  return [
    {
      name: "sluice_attempts_total",
      help: "Attempts on a revision of a backend, by outcome; all but ok are its errors.",
      type: "counter",
      values: () =>
        reading().arms.flatMap(({ labels, sums }) =>
          OUTCOMES.flatMap((outcome, index) =>
            counted(labels, { outcome }, outcomeCount(sums, index), outcome === "ok"),
          ),
        ),
    },
    {
      name: "sluice_attempts_shielded_total",
      help: "Failed attempts whose request another revision then answered.",
      type: "counter",
      values: () =>
        reading().arms.flatMap(({ labels, sums }) => counted(labels, {}, sums[FIELD.shielded])),
    },
    histogram({
      name: "sluice_attempt_duration_seconds",
      help: "Time from an attempt's dispatch to the end of its response.",
      arms: () => reading().arms,
      bucketField: FIELD.latencyBuckets,
      sumField: FIELD.latencySumMs,
    }),
  ];
}

function streamMetrics(reading: () => Reading): readonly Definition[] {
  return [
    {
      name: "sluice_llm_tokens_total",
      help: "Tokens as LLM providers reported them, by direction.",
      type: "counter",
      values: () =>
        reading().arms.flatMap((row) =>
          fieldValues(row, "direction", [
            ["input", FIELD.inputTokens],
            ["output", FIELD.outputTokens],
          ]),
        ),
    },
    histogram({
      name: "sluice_llm_first_token_seconds",
      help: "Time to the first token of streamed LLM answers.",
      arms: () => reading().arms,
      bucketField: FIELD.firstTokenBuckets,
      sumField: FIELD.firstTokenSumMs,
    }),
  ];
}

/** The role of a revision is told here, as a state of the moment beside the counters. */
function splitMetrics(served: () => Served | undefined): readonly Definition[] {
  return [
    {
      name: "sluice_revision_weight_ratio",
      help: "Share of requests that a revision of a backend is meant to get, and its role.",
      type: "gauge",
      values: () =>
        splitsOf(served()?.parts ?? new Map()).flatMap(({ arms, key }) =>
          arms.map(({ id, version, role, weightBp }) => {
            const labels = { split: key.slice("split/".length), ...nameArm(id), version, role };
            return { labels, value: weightBp / 10_000 };
          }),
        ),
    },
  ];
}

function processMetrics(options: ExpositionOptions): readonly Definition[] {
  const { store, workers, notifications, problems, reader, spans } = options;
  const overflow = (): number => {
    const sums = reader.read("", "overflow") ?? new Float64Array(OUTCOMES.length);
    return OUTCOMES.reduce((total, _, index) => total + outcomeCount(sums, index), 0);
  };
  const worker = (field: number): number =>
    reader.read(WORKER_KEY.route, WORKER_KEY.armId)?.[field] ?? 0;
  const definitions = [
    counter("sluice_connections_total", "Client connections accepted.", () =>
      worker(WORKER_FIELD.connections),
    ),
    {
      name: "sluice_connections_refused_total",
      help: "Client connections that ended before a request, by reason.",
      type: "counter" as const,
      values: () =>
        REFUSALS.flatMap((reason, index) =>
          counted({}, { reason }, worker(WORKER_FIELD.refused + index)),
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
  if (notifications !== undefined) {
    const [pending, dead] = [() => notifications().pending, () => notifications().dead];
    definitions.push(
      gauge("sluice_notifications_pending", "Notifications not yet delivered.", pending),
      counter("sluice_notifications_dead_total", "Notifications given up.", dead),
    );
  }
  if (spans !== undefined) {
    definitions.push({
      name: "sluice_spans_total",
      help: "Spans by what became of them: exported, refused by the collector, or dropped before.",
      type: "counter",
      values: () => [
        ...counted({}, { outcome: "exported" }, spans().exported),
        ...counted({}, { outcome: "failed" }, spans().failed),
        ...counted({}, { outcome: "dropped" }, worker(WORKER_FIELD.spansDropped)),
      ],
    });
  }
  if (problems !== undefined) {
    definitions.push({
      name: "sluice_resource_problems",
      help: "Resources whose conditions say that something is wrong, by kind.",
      type: "gauge",
      values: () => [...problems()].map(([kind, value]) => ({ labels: { kind }, value })),
    });
  }
  return definitions;
}

function gauge(name: string, help: string, value: () => number): Definition {
  return { name, help, type: "gauge", values: () => [{ labels: {}, value: value() }] };
}

function counter(name: string, help: string, value: () => number): Definition {
  return { ...gauge(name, help, value), type: "counter" };
}

interface HistogramDefinition {
  readonly name: string;
  readonly help: string;
  readonly arms: () => readonly ArmRow[];
  readonly bucketField: number;
  readonly sumField: number;
}

function histogram(definition: HistogramDefinition): Definition {
  const { name, help, arms, bucketField, sumField } = definition;
  const series = ({ labels: sharedLabels, sums }: ArmRow): readonly Value[] => {
    const { below, count } = cumulate(sums, bucketField);
    if (count === 0) return [];
    const metricName = `${name}_bucket`;
    const buckets = BOUNDS_MS.map((bound, index) => {
      const value = below[index] as number;
      return { metricName, labels: { le: bound / 1000 }, sharedLabels, value };
    });
    const sum = (sums[sumField] as number) / 1000;
    return [
      ...buckets,
      { metricName, labels: { le: "+Inf" }, sharedLabels, value: count },
      { metricName: `${name}_sum`, labels: {}, sharedLabels, value: sum },
      { metricName: `${name}_count`, labels: {}, sharedLabels, value: count },
    ];
  };
  return { name, help, type: "histogram", values: () => arms().flatMap(series) };
}

/** Fields of one row as series that differ in one label. */
function fieldValues(
  { labels, sums }: RouteRow | ArmRow,
  label: string,
  fields: readonly (readonly [value: string, field: number])[],
): readonly Value[] {
  return fields.flatMap(([value, field]) => counted(labels, { [label]: value }, sums[field]));
}

/** A series begins with its first count, so that labels which never occur cost no line. */
function counted(
  sharedLabels: Readonly<Record<string, string>>,
  labels: Readonly<Record<string, string>>,
  value: number | undefined,
  evenZero = false,
): readonly Value[] {
  if (value === undefined || (value === 0 && !evenZero)) return [];
  return [{ labels, sharedLabels, value }];
}
