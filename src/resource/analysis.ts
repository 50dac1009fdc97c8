/**
 * AnalysisTemplate, ClusterAnalysisTemplate and AnalysisRun (argoproj.io/v1alpha1): what is
 * measured and what the results mean, in the fields of Argo Rollouts (pkg/apis/rollouts/v1alpha1).
 */
import { z } from "zod";
import { argoDuration, resourceName, urlProblem, userinfoOf } from "./format.ts";
import { column, defineKind, type Typed } from "./kind.ts";
import { ARGO_GROUP } from "./reference.ts";
import {
  across,
  choice,
  integer,
  intOrString,
  object,
  type Refuse,
  refuseDuplicates,
  throughout,
  words,
} from "./schema.ts";

/** Argo's metric providers and other members of its `provider` that this version does not build. */
const OTHER_PROVIDERS = [
  "web",
  "job",
  "datadog",
  "newRelic",
  "wavefront",
  "cloudWatch",
  "graphite",
  "influxdb",
  "skywalking",
  "kayenta",
];

const limit = (): ReturnType<typeof intOrString> => intOrString();

const ARGUMENT = "{{";

/** As `urlProblem`, for a URL that arguments may be put into: those may come from a Secret. */
function addressProblem(address: string): string | undefined {
  if (!address.includes(ARGUMENT)) return urlProblem(address, ["http:", "https:"]);
  const secret = userinfoOf(address).replace(/^[^:]*:/, "");
  return secret === "" || secret.includes(ARGUMENT)
    ? undefined
    : "must hold no password: whoever reads the resource would see it; {{args.NAME}} may stand for it";
}

const prometheus = object(
  {
    address: words(2048)
      .superRefine(
        across((address: string, refuse) => {
          const problem = addressProblem(address);
          if (problem !== undefined) refuse([], problem);
        }),
      )
      .describe("URL of the Prometheus server; {{args.NAME}} is replaced."),
    query: words(32_768).describe("PromQL; {{args.NAME}} is replaced."),
    timeout: integer(1, 3600).exactOptional().describe("Seconds to wait; 30 where absent."),
    insecure: z
      .boolean()
      .exactOptional()
      .describe("true: the server's certificate is not verified."),
    headers: z
      .array(
        object({
          key: words(256).describe("Name of the header."),
          value: z.string().max(4096).describe("Its value; {{args.NAME}} is replaced."),
        }),
      )
      .max(16)
      .exactOptional()
      .describe("Headers to send."),
    rangeQuery: object({
      start: words(1024).describe(
        "Expression that gives the start, such as now() - duration('5m').",
      ),
      end: words(1024).describe("Expression that gives the end, such as now()."),
      step: argoDuration().describe("Distance of the points."),
    })
      .exactOptional()
      .describe("Asks for a range instead of one point in time."),
  },
  { unsupported: ["authentication"] },
);

const QUANTILE_METRICS = ["latency", "time-to-first-token"];

const sluiceFields = object({
  metric: choice([
    "request-count",
    "request-rate",
    "success-rate",
    "error-rate",
    "latency",
    "input-tokens",
    "output-tokens",
    "tokens-per-second",
    "time-to-first-token",
  ]).describe("What is measured; latencies in milliseconds, rates from 0 to 1 or per second."),
  quantile: z
    .number()
    .gt(0)
    .lt(1)
    .exactOptional()
    .describe("For latency and time-to-first-token: 0.95 is the 95th percentile."),
  arm: choice(["canary", "stable", "ratio", "difference"])
    .exactOptional()
    .describe(
      "Whose value: canary where absent; ratio is canary/stable, difference canary-stable.",
    ),
  window: argoDuration().exactOptional().describe("How far back to look."),
  minSamples: intOrString()
    .exactOptional()
    .describe("Fewer requests than this are no data, for each arm that is asked for."),
  route: words(317)
    .exactOptional()
    .describe("NAMESPACE/NAME or NAME of one route; all routes where absent."),
  noData: choice(["wait", "pause", "fail", "pass"])
    .exactOptional()
    .describe("What no data means: wait (where absent) records nothing and holds the step."),
});

export type SluiceMetric = z.infer<typeof sluiceFields>;

const sluice = sluiceFields.superRefine(
  across((value: SluiceMetric, refuse) => {
    if (value.quantile !== undefined && !QUANTILE_METRICS.includes(value.metric)) {
      refuse(["quantile"], `must be absent for ${value.metric}; it belongs to latency`);
    }
  }),
);

const providerFields = object(
  {
    prometheus: prometheus.exactOptional().describe("A query to a Prometheus server."),
    plugin: object(
      {
        sluice: sluice.exactOptional().describe("What this gateway itself has counted."),
      },
      { refused: {} },
    )
      .exactOptional()
      .describe("Providers beside Argo's own: sluice."),
  },
  { unsupported: OTHER_PROVIDERS },
);

const provider = providerFields
  .superRefine(
    across((value: z.infer<typeof providerFields>, refuse) => {
      if (value.plugin !== undefined && value.plugin.sluice === undefined) {
        refuse(["plugin"], "must have sluice, the one plugin that this version has");
      }
      const given = Object.values(value).filter((item) => item !== undefined).length;
      if (given !== 1) refuse([], `must have exactly one of prometheus and plugin, has ${given}`);
    }),
  )
  .describe("Where the value comes from.");

const metricFields = object({
  name: words(253).describe("Name of the metric, unique in the run."),
  interval: argoDuration()
    .exactOptional()
    .describe("Time between measurements; absent: one measurement alone."),
  initialDelay: argoDuration().exactOptional().describe("Time before the first measurement."),
  count: limit()
    .exactOptional()
    .describe("Number of measurements; absent, with an interval: endless."),
  successCondition: z
    .string()
    .max(8192)
    .exactOptional()
    .describe("Expression over result that is true where the measurement is good."),
  failureCondition: z
    .string()
    .max(8192)
    .exactOptional()
    .describe("Expression over result that is true where the measurement is bad."),
  failureLimit: limit()
    .exactOptional()
    .describe("Failed measurements that are borne; one more fails the metric; -1: any number."),
  inconclusiveLimit: limit()
    .exactOptional()
    .describe("Inconclusive measurements that are borne; one more makes the metric inconclusive."),
  consecutiveErrorLimit: limit()
    .exactOptional()
    .describe("Errors in a row that are borne, 4 where absent."),
  consecutiveSuccessLimit: limit()
    .exactOptional()
    .describe("Successes in a row that suffice; 0: off."),
  provider,
});

const metric = metricFields.superRefine(
  across((value: z.infer<typeof metricFields>, refuse) => {
    const count = Number(value.count);
    if (count > 1 && value.interval === undefined) {
      refuse(["interval"], "is required where count is more than 1");
    }
  }),
);

export type Metric = z.infer<typeof metric>;

const secretKeyRef = object(
  {
    name: resourceName().describe("Name of the Secret."),
    key: words(253).describe("Key in the Secret."),
  },
  { unsupported: ["optional"] },
);

const fieldRef = object({
  fieldPath: words(1024).describe("Path in the Rollout, such as metadata.labels['region']."),
});

const templateArg = object({
  name: words(253).describe("Name of the argument: {{args.NAME}}."),
  value: z.string().max(32_768).exactOptional().describe("Its value; absent: the caller gives it."),
  valueFrom: object({
    secretKeyRef: secretKeyRef.exactOptional().describe("A key of a Secret."),
    fieldRef: fieldRef.exactOptional().describe("A field of the Rollout."),
  })
    .superRefine(across(checkOneSource))
    .exactOptional()
    .describe("Where the value comes from."),
}).superRefine(across(checkValue));

/** An argument that a Rollout gives to its analysis. */
export const rolloutArg = object({
  name: words(253).describe("Name of the argument."),
  value: z.string().max(32_768).exactOptional().describe("Its value."),
  valueFrom: object({
    podTemplateHashValue: choice(["Stable", "Latest"])
      .exactOptional()
      .describe("The hash of the stable revision or of the newest."),
    fieldRef: fieldRef.exactOptional().describe("A field of the Rollout."),
  })
    .superRefine(across(checkOneSource))
    .exactOptional()
    .describe("Where the value comes from."),
}).superRefine(across(checkValue));

function checkOneSource(source: object, refuse: Refuse): void {
  const given = Object.values(source).filter((value) => value !== undefined).length;
  if (given !== 1) refuse([], `must have exactly one source, has ${given}`);
}

function checkValue(arg: { value?: string; valueFrom?: unknown }, refuse: Refuse): void {
  if (arg.value !== undefined && arg.valueFrom !== undefined) {
    refuse(["valueFrom"], "must be absent beside value");
  }
}

export type AnalysisArg = z.infer<typeof templateArg>;

export const templateReference = object({
  templateName: resourceName().describe("Name of the template."),
  clusterScope: z
    .boolean()
    .exactOptional()
    .describe("true: a ClusterAnalysisTemplate; else an AnalysisTemplate of this namespace."),
}).describe("A template to take metrics from.");

export const dryRuns = z
  .array(object({ metricName: words(1024).describe("RE2 expression over the names of metrics.") }))
  .max(64)
  .exactOptional()
  .describe("Metrics that are measured but decide nothing.");

export const measurementRetentions = z
  .array(
    object({
      metricName: words(1024).describe("RE2 expression over the names of metrics."),
      limit: integer(1, 1000).describe("Measurements to keep; 10 where nothing is said."),
    }),
  )
  .max(64)
  .exactOptional()
  .describe("How many measurements are kept.");

const metrics = z.array(metric).max(64).describe("What is measured.");
const args = z.array(templateArg).max(128).exactOptional().describe("Arguments of the metrics.");

const templateFields = object({
  metrics: metrics.exactOptional(),
  args,
  templates: z
    .array(templateReference)
    .max(16)
    .exactOptional()
    .describe("Templates whose metrics and arguments are added."),
  dryRun: dryRuns,
  measurementRetention: measurementRetentions,
});

export type AnalysisTemplateSpec = z.infer<typeof templateFields>;

const templateSpec = templateFields
  .superRefine(
    ...throughout((spec: AnalysisTemplateSpec, refuse) => {
      if ((spec.metrics ?? []).length === 0 && (spec.templates ?? []).length === 0) {
        refuse(["metrics"], "must have a metric, where there are no templates");
      }
      checkNames(spec, refuse);
    }),
  )
  .describe("What is measured and what the results mean.");

function checkNames(
  spec: { readonly metrics?: readonly Metric[]; readonly args?: readonly AnalysisArg[] },
  refuse: Refuse,
): void {
  const options = { field: "name", keyOfItem: (item: { name: string }) => item.name };
  refuseDuplicates(spec.metrics, { ...options, path: ["metrics"], what: "the metric" }, refuse);
  refuseDuplicates(spec.args, { ...options, path: ["args"], what: "the argument" }, refuse);
}

const runFields = object(
  {
    metrics: metrics.min(1),
    args,
    dryRun: dryRuns,
    measurementRetention: measurementRetentions,
    terminate: z
      .boolean()
      .exactOptional()
      .describe("true: ends the run; Successful unless it has failed already."),
  },
  { unsupported: ["ttlStrategy"] },
);

export type AnalysisRunSpec = z.infer<typeof runFields>;

const phase = z
  .enum(["", "Pending", "Running", "Successful", "Failed", "Error", "Inconclusive"])
  .describe("Pending, Running, Successful, Failed, Error or Inconclusive.");

const count = z.number().int().exactOptional();

const measurement = z.looseObject({
  phase,
  value: z.string().exactOptional().describe("What was measured."),
  message: z.string().exactOptional().describe("Why, for people."),
  startedAt: z.string().nullable().exactOptional().describe("RFC 3339 with milliseconds."),
  finishedAt: z.string().nullable().exactOptional().describe("RFC 3339 with milliseconds."),
  resumeAt: z.string().nullable().exactOptional().describe("RFC 3339 with milliseconds."),
});

const metricResult = z.looseObject({
  name: z.string().describe("Name of the metric."),
  phase,
  message: z.string().exactOptional().describe("Why, or what is waited for."),
  count: count.describe("Measurements without those in error."),
  successful: count.describe("Good measurements."),
  failed: count.describe("Bad measurements."),
  inconclusive: count.describe("Measurements that are neither."),
  error: count.describe("Measurements that could not be made."),
  consecutiveError: count.describe("Errors in a row."),
  consecutiveSuccess: count.describe("Successes in a row."),
  dryRun: z.boolean().exactOptional().describe("Whether the metric decides nothing."),
  metadata: z.record(z.string(), z.string()).exactOptional().describe("Notes of the provider."),
  measurements: z.array(measurement).max(1000).exactOptional().describe("The last measurements."),
});

const summary = z.looseObject({
  count,
  successful: count,
  failed: count,
  inconclusive: count,
  error: count,
});

const runStatus = z
  .looseObject({
    phase: phase.exactOptional(),
    message: z.string().exactOptional().describe("Why, for people."),
    startedAt: z.string().nullable().exactOptional().describe("When the run began."),
    completedAt: z.string().nullable().exactOptional().describe("When the run ended."),
    metricResults: z.array(metricResult).max(256).exactOptional().describe("State of each metric."),
    runSummary: summary.exactOptional().describe("Number of metrics in each phase."),
    dryRunSummary: summary.exactOptional().describe("The same of the metrics that decide nothing."),
  })
  .describe("State of the run.");

export type AnalysisRunStatus = z.infer<typeof runStatus>;
export type AnalysisRun = Typed<
  "AnalysisRun",
  { spec: AnalysisRunSpec; status?: AnalysisRunStatus }
>;

const TEMPLATE = {
  group: ARGO_GROUP,
  version: "v1alpha1",
  categories: ["sluice"],
  fields: { spec: templateSpec },
  columns: [column("Metrics", "spec.metrics", { type: "integer" })],
} as const;

export const ANALYSIS_TEMPLATE = defineKind({
  ...TEMPLATE,
  kind: "AnalysisTemplate",
  plural: "analysistemplates",
  shortNames: ["at"],
  description: "What is measured of a canary, and what the results mean.",
});

export const CLUSTER_ANALYSIS_TEMPLATE = defineKind({
  ...TEMPLATE,
  kind: "ClusterAnalysisTemplate",
  plural: "clusteranalysistemplates",
  shortNames: ["cat"],
  namespaced: false,
  description: "An AnalysisTemplate for all namespaces.",
});

export const ANALYSIS_RUN = defineKind({
  group: ARGO_GROUP,
  version: "v1alpha1",
  kind: "AnalysisRun",
  plural: "analysisruns",
  shortNames: ["ar"],
  categories: ["sluice"],
  description: "One run of an analysis: measurements and their verdict.",
  fields: {
    spec: runFields.superRefine(...throughout(checkNames)).describe("What is measured."),
  },
  status: runStatus,
  columns: [column("Status", "status.phase"), column("Message", "status.message", { priority: 1 })],
});
