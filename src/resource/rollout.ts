/**
 * Rollout (argoproj.io/v1alpha1): how a new version gets its traffic. The fields of Argo Rollouts
 * that drive pods or other proxies are refused by name, with what to write instead.
 */
import { z } from "zod";
import { parseDurationOrSeconds } from "../base/duration.ts";
import { dryRuns, measurementRetentions, rolloutArg, templateReference } from "./analysis.ts";
import { conditions } from "./condition.ts";
import { resourceName } from "./format.ts";
import { column, defineKind, type Typed } from "./kind.ts";
import { ARGO_GROUP, SLUICE_GROUP } from "./reference.ts";
import {
  across,
  choice,
  integer,
  object,
  quoted,
  type Refuse,
  refuseDuplicates,
  throughout,
} from "./schema.ts";

const POD_FIELD =
  "is for pods and needs a Kubernetes cluster, which this version does not attach to; " +
  "name a Backend or AIServiceBackend in spec.workloadRef instead";

const workloadRef = object(
  {
    apiVersion: z
      .enum([`${SLUICE_GROUP}/v1alpha1`], { error: `must be ${SLUICE_GROUP}/v1alpha1` })
      .describe("API version of the resource."),
    kind: choice(
      ["Backend", "AIServiceBackend"],
      ["AIGatewayRoute", "Prompt", "Deployment", "ReplicaSet", "PodTemplate"],
    ).describe("Kind of the resource: Backend or AIServiceBackend."),
    name: resourceName().describe("Name of the resource, in the Rollout's namespace."),
  },
  { unsupported: ["scaleDown"] },
).describe("The resource whose versions are rolled out.");

const analysisFields = {
  templates: z.array(templateReference).min(1).max(16).describe("Templates to run."),
  args: z.array(rolloutArg).max(128).exactOptional().describe("Arguments for the templates."),
  dryRun: dryRuns,
  measurementRetention: measurementRetentions,
} as const;

const stepAnalysis = object(analysisFields, {
  unsupported: ["analysisRunMetadata"],
  refused: { startingStep: "is for strategy.canary.analysis alone, not for a step" },
}).superRefine(...throughout(checkArgs));

const backgroundAnalysis = object(
  {
    ...analysisFields,
    startingStep: integer(0, 1000)
      .exactOptional()
      .describe(
        "Index of the first step with analysis; absent: as soon as the canary has traffic.",
      ),
  },
  { unsupported: ["analysisRunMetadata"] },
).superRefine(...throughout(checkArgs));

function checkArgs(analysis: { args?: { readonly name: string }[] }, refuse: Refuse): void {
  refuseDuplicates(
    analysis.args,
    { path: ["args"], field: "name", keyOfItem: (item) => item.name, what: "the argument" },
    refuse,
  );
}

const pause = object({
  duration: z
    .union([z.number().int(), z.string().max(64)], {
      error: 'must be seconds, or a duration such as "10m"',
    })
    .refine((value) => parseDurationOrSeconds(value) !== undefined, {
      error: ({ input }) => `must be seconds or a duration such as "10m", is ${quoted(input)}`,
    })
    .exactOptional()
    .describe("How long; absent: until somebody promotes."),
});

const stepFields = object(
  {
    setWeight: integer(0, 100).exactOptional().describe("Percent of requests for the canary."),
    pause: pause.exactOptional().describe("Waits."),
    analysis: stepAnalysis.exactOptional().describe("Runs an analysis and waits for its verdict."),
  },
  {
    unsupported: ["experiment", "setCanaryScale", "setHeaderRoute", "setMirrorRoute", "plugin"],
  },
);

export type CanaryStep = z.infer<typeof stepFields>;

const step = stepFields
  .superRefine(
    across((value: CanaryStep, refuse) => {
      const given = Object.values(value).filter((item) => item !== undefined).length;
      if (given !== 1) {
        refuse([], `must have exactly one of setWeight, pause and analysis, has ${given}`);
      }
    }),
  )
  .describe("One step: setWeight, pause or analysis.");

const TWO_SERVICES =
  "is not supported by this version: Sluice splits every route to the resource that " +
  "spec.workloadRef names, without services of its own";

const canaryFields = object(
  {
    steps: z
      .array(step)
      .max(256)
      .exactOptional()
      .describe("What happens in turn; none: all at once."),
    analysis: backgroundAnalysis
      .exactOptional()
      .describe("An analysis that runs beside the steps; its failure rolls back."),
  },
  {
    unsupported: [
      "maxSurge",
      "maxUnavailable",
      "dynamicStableScale",
      "minPodsPerReplicaSet",
      "replicaProgressThreshold",
      "scaleDownDelaySeconds",
      "scaleDownDelayRevisionLimit",
      "abortScaleDownDelaySeconds",
      "canaryMetadata",
      "stableMetadata",
      "antiAffinity",
    ],
    refused: {
      canaryService: TWO_SERVICES,
      stableService: TWO_SERVICES,
      pingPong: TWO_SERVICES,
      trafficRouting:
        "is not supported by this version: Sluice itself carries the traffic and moves the weights",
    },
  },
);

export type CanaryStrategy = z.infer<typeof canaryFields>;

const specFields = object(
  {
    workloadRef,
    strategy: object(
      {
        canary: canaryFields
          .superRefine(
            ...throughout((canary: CanaryStrategy, refuse) => {
              const start = canary.analysis?.startingStep ?? 0;
              const count = canary.steps?.length ?? 0;
              if (start > count) {
                refuse(
                  ["analysis", "startingStep"],
                  `must be at most ${count}, the number of steps`,
                );
              }
            }),
          )
          .describe("Some requests go to the new version first."),
      },
      { unsupported: ["blueGreen"] },
    ).describe("How a new version gets its traffic: canary."),
    paused: z.boolean().exactOptional().describe("true: holds the rollout where it is."),
    progressDeadlineSeconds: integer(1, 31_536_000)
      .exactOptional()
      .describe("Seconds without progress until the Rollout counts as degraded; 600 where absent."),
    progressDeadlineAbort: z
      .boolean()
      .exactOptional()
      .describe("true: the deadline aborts the rollout."),
    revisionHistoryLimit: integer(0, 1000)
      .exactOptional()
      .describe("Old revisions that are kept, 10 where absent."),
    analysis: object({
      successfulRunHistoryLimit: integer(0, 1000)
        .exactOptional()
        .describe("Successful AnalysisRuns that are kept, 5 where absent."),
      unsuccessfulRunHistoryLimit: integer(0, 1000)
        .exactOptional()
        .describe("Other finished AnalysisRuns that are kept, 5 where absent."),
    })
      .exactOptional()
      .describe("History of AnalysisRuns."),
  },
  {
    unsupported: ["rollbackWindow"],
    refused: {
      template: POD_FIELD,
      selector: POD_FIELD,
      replicas: POD_FIELD,
      minReadySeconds: POD_FIELD,
      restartAt: POD_FIELD,
    },
  },
);

export type RolloutSpec = z.infer<typeof specFields>;

const runReference = z
  .looseObject({
    name: z.string().describe("Name of the AnalysisRun."),
    status: z.string().exactOptional().describe("Its phase."),
    message: z.string().exactOptional().describe("Why, for people."),
  })
  .nullable()
  .exactOptional();

const weight = z.looseObject({
  weight: z.number().describe("Percent of requests."),
  podTemplateHash: z.string().exactOptional().describe("Hash of the revision."),
  serviceName: z.string().exactOptional().describe("Kept."),
});

const rolloutStatus = z
  .looseObject({
    phase: z.string().exactOptional().describe("Healthy, Progressing, Paused or Degraded."),
    message: z.string().nullable().exactOptional().describe("Why, for people."),
    abort: z.boolean().nullable().exactOptional().describe("true: the rollout is aborted."),
    abortedAt: z.string().nullable().exactOptional().describe("When it was aborted."),
    promoteFull: z
      .boolean()
      .nullable()
      .exactOptional()
      .describe("true: remaining steps are skipped."),
    pauseConditions: z
      .array(
        z.looseObject({ reason: z.string(), startTime: z.string().nullable().exactOptional() }),
      )
      .max(16)
      .nullable()
      .exactOptional()
      .describe("Why and since when the rollout is paused."),
    controllerPause: z
      .boolean()
      .nullable()
      .exactOptional()
      .describe("Paused by a step or analysis."),
    currentStepIndex: z.number().int().nullable().exactOptional().describe("Index of the step."),
    currentStepHash: z.string().exactOptional().describe("Hash of the steps."),
    currentPodHash: z.string().exactOptional().describe("Hash of the newest revision."),
    stableRS: z.string().exactOptional().describe("Hash of the stable revision."),
    observedGeneration: z
      .union([z.number().int(), z.string()])
      .exactOptional()
      .describe("Generation that the status speaks of."),
    canary: z
      .looseObject({
        weights: z
          .looseObject({
            canary: weight.describe("The new version's share."),
            stable: weight.describe("The stable version's share."),
            verified: z
              .boolean()
              .nullable()
              .exactOptional()
              .describe("true: every worker serves it."),
          })
          .nullable()
          .exactOptional()
          .describe("What the data plane has acknowledged."),
        currentStepAnalysisRunStatus: runReference.describe("AnalysisRun of the step."),
        currentBackgroundAnalysisRunStatus: runReference.describe("AnalysisRun beside the steps."),
      })
      .exactOptional()
      .describe("State of the canary."),
    conditions,
  })
  .describe("State of the rollout.");

export type RolloutStatus = z.infer<typeof rolloutStatus>;
export type Rollout = Typed<"Rollout", { spec: RolloutSpec; status?: RolloutStatus }>;

export const ROLLOUT = defineKind({
  group: ARGO_GROUP,
  version: "v1alpha1",
  kind: "Rollout",
  plural: "rollouts",
  shortNames: ["ro"],
  categories: ["sluice", "all"],
  description: "How a new version of a resource gets its traffic, step by step.",
  fields: { spec: specFields.describe("What is rolled out, and how.") },
  status: rolloutStatus,
  columns: [
    column("Workload", "spec.workloadRef.name"),
    column("Status", "status.phase"),
    {
      name: "Step",
      type: "string",
      priority: 0,
      description: "Index of the step, of the number of steps.",
      value: (resource) => {
        const { spec, status } = resource as Rollout;
        return `${status?.currentStepIndex ?? 0}/${spec.strategy.canary.steps?.length ?? 0}`;
      },
    },
    column("Weight", "status.canary.weights.canary.weight", { type: "integer" }),
    column("Message", "status.message", { priority: 1 }),
  ],
});
