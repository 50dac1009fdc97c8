/** Runs made of templates: what is laid together, which arguments win, and what is refused. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { type NewAnalysisRunOptions, newAnalysisRun } from "../../src/analysis/new-run.ts";
import type { AnalysisRunSpec, AnalysisTemplateSpec, Metric } from "../../src/analysis/run.ts";
import type { Resource } from "../../src/resource/resource.ts";

function metric(name: string, more: Partial<Metric> = {}): Metric {
  return { name, provider: { prometheus: { address: "http://p", query: "up" } }, ...more };
}

function resource(kind: string, name: string, spec: object, labels = {}): Resource {
  const namespace = kind.startsWith("Cluster") ? "" : "shop";
  return {
    apiVersion: "argoproj.io/v1alpha1",
    kind,
    metadata: {
      name,
      namespace,
      uid: `${kind}-${name}`,
      resourceVersion: "1",
      generation: 1,
      creationTimestamp: "2026-01-01T00:00:00Z",
      labels,
    },
    spec: spec as Resource["spec"] & object,
  };
}

const OWNER = resource("Rollout", "checkout", {}, { region: "eu", "app.io/tier": "web" });

function make(
  templates: Readonly<Record<string, AnalysisTemplateSpec>>,
  options: Partial<NewAnalysisRunOptions> = {},
): ReturnType<typeof newAnalysisRun> {
  const view: NewAnalysisRunOptions["view"] = {
    get: (kind, namespace, name) => {
      const wantedKind = name.startsWith("c-") ? "ClusterAnalysisTemplate" : "AnalysisTemplate";
      const spec = templates[name];
      const isThere = kind === wantedKind && namespace === (name.startsWith("c-") ? "" : "shop");
      return spec === undefined || !isThere ? undefined : resource(kind, name, spec);
    },
  };
  return newAnalysisRun({
    templates: [{ templateName: "a" }],
    view,
    owner: OWNER,
    name: "checkout-1",
    ...options,
  });
}

function specOf(made: ReturnType<typeof newAnalysisRun>): AnalysisRunSpec {
  assert.ok(made.ok, made.ok ? "" : made.message);
  return made.draft.spec;
}

function messageOf(made: ReturnType<typeof newAnalysisRun>): string {
  assert.ok(!made.ok);
  return made.message;
}

test("a run owns up to its rollout and knows its arms", () => {
  const made = make(
    { a: { metrics: [metric("m")] } },
    {
      labels: { step: "1" },
      arms: {
        canary: "Backend/shop/checkout@b",
        stable: "Backend/shop/checkout@a",
        split: "split/Backend/shop/checkout",
      },
    },
  );
  assert.ok(made.ok);
  assert.deepEqual(made.draft.metadata, {
    name: "checkout-1",
    namespace: "shop",
    labels: { step: "1" },
    annotations: {
      "sluice.dev/canary-arm": "Backend/shop/checkout@b",
      "sluice.dev/stable-arm": "Backend/shop/checkout@a",
      "sluice.dev/split": "split/Backend/shop/checkout",
    },
    ownerReferences: [
      {
        apiVersion: "argoproj.io/v1alpha1",
        kind: "Rollout",
        name: "checkout",
        uid: "Rollout-checkout",
        controller: true,
        blockOwnerDeletion: true,
      },
    ],
  });
});

test("templates that templates name are laid in, each once, loops and all", () => {
  const made = make({
    a: {
      metrics: [metric("a")],
      templates: [{ templateName: "b" }],
      dryRun: [{ metricName: "a" }],
    },
    b: {
      metrics: [metric("b")],
      templates: [{ templateName: "a" }, { templateName: "c-wide", clusterScope: true }],
    },
    "c-wide": { metrics: [metric("wide")] },
  });
  const spec = specOf(made);
  assert.deepEqual(
    spec.metrics.map(({ name }) => name),
    ["a", "b", "wide"],
  );
  assert.deepEqual(spec.dryRun, [{ metricName: "a" }]);
});

test("arguments: the caller's win, undeclared ones are dropped, fields and hashes are read", () => {
  const template: AnalysisTemplateSpec = {
    metrics: [metric("m", { successCondition: "result > {{args.limit}}" })],
    args: [
      { name: "limit", value: "1" },
      { name: "hash" },
      { name: "old" },
      { name: "region" },
      { name: "tier", valueFrom: { fieldRef: { fieldPath: "metadata.labels['app.io/tier']" } } },
      { name: "token", valueFrom: { secretKeyRef: { name: "s", key: "k" } } },
    ],
  };
  const made = make(
    { a: template },
    {
      args: [
        { name: "limit", value: "2" },
        { name: "hash", valueFrom: { podTemplateHashValue: "Latest" } },
        { name: "old", valueFrom: { podTemplateHashValue: "Stable" } },
        { name: "region", valueFrom: { fieldRef: { fieldPath: "metadata.labels.region" } } },
        { name: "unknown", value: "x" },
      ],
      hashes: { stable: "aaa", latest: "bbb" },
    },
  );
  assert.deepEqual(specOf(made).args, [
    { name: "limit", value: "2" },
    { name: "hash", value: "bbb" },
    { name: "old", value: "aaa" },
    { name: "region", value: "eu" },
    { name: "tier", value: "web" },
    { name: "token", valueFrom: { secretKeyRef: { name: "s", key: "k" } } },
  ]);
  // The metrics keep their tags; values are put in when they are measured.
  assert.equal(specOf(made).metrics[0]?.successCondition, "result > {{args.limit}}");
});

const REFUSED: readonly (readonly [
  string,
  Readonly<Record<string, AnalysisTemplateSpec>>,
  RegExp,
])[] = [
  ["no template", {}, /AnalysisTemplate 'a' not found/],
  [
    "no nested template",
    { a: { metrics: [], templates: [{ templateName: "b" }] } },
    /AnalysisTemplate 'b' not found/,
  ],
  ["no metric", { a: { metrics: [] } }, /no metrics specified/],
  [
    "two metrics of a name",
    {
      a: { metrics: [metric("m")], templates: [{ templateName: "b" }] },
      b: { metrics: [metric("m")] },
    },
    /two metrics have the same name 'm'/,
  ],
  [
    "an argument without value",
    { a: { metrics: [metric("m")], args: [{ name: "x" }] } },
    /args\.x was not resolved/,
  ],
  [
    "an argument that is not declared",
    { a: { metrics: [metric("m", { successCondition: "result > {{args.x}}" })] } },
    /failed to resolve \{\{args\.x\}\}/,
  ],
  [
    "an argument with two values",
    {
      a: {
        metrics: [metric("m")],
        args: [{ name: "x", value: "1" }],
        templates: [{ templateName: "b" }],
      },
      b: { args: [{ name: "x", value: "2" }] },
    },
    /Argument `x` specified multiple times with different values: '1', '2'/,
  ],
  [
    "a dry run of nothing",
    { a: { metrics: [metric("m")], dryRun: [{ metricName: "other.*" }] } },
    /dryRun\[0\]: Rule didn't match any metric name\(s\)/,
  ],
  [
    "a retention of nothing",
    { a: { metrics: [metric("m")], measurementRetention: [{ metricName: "(", limit: 5 }] } },
    /measurementRetention\[0\]: Rule didn't match/,
  ],
  [
    "count without interval",
    { a: { metrics: [metric("m", { count: 2 })] } },
    /metrics\[0\]: interval must be specified when count > 1/,
  ],
  [
    "fewer measurements than failures borne",
    { a: { metrics: [metric("m", { count: 2, interval: "1s", failureLimit: 3 })] } },
    /count must be >= failureLimit/,
  ],
  [
    "no way to end",
    { a: { metrics: [metric("m", { failureLimit: -1 })] } },
    /must not both be disabled/,
  ],
  [
    "a count that is no number",
    { a: { metrics: [metric("m", { count: "many" })] } },
    /count must be an integer, is "many"/,
  ],
  [
    "a condition that is no expression",
    { a: { metrics: [metric("m", { failureCondition: "result >" })] } },
    /failureCondition "result >": unexpected end of expression \(column 9\)/,
  ],
];

test("what cannot be a run is said in words", async (context) => {
  for (const [name, templates, message] of REFUSED) {
    await context.test(name, () => assert.match(messageOf(make(templates)), message));
  }
});
