/**
 * What all policies share: what they apply to (Envoy Gateway's targetRefs), their status for each
 * target (Gateway API PolicyStatus) and how they are shown.
 */
import { z } from "zod";
import { isJsonObject } from "../base/json.ts";
import { conditions } from "./condition.ts";
import { resourceName, sectionName } from "./format.ts";
import {
  type Column,
  defineKind,
  type KindDefinition,
  type KindOptions,
  type Typed,
} from "./kind.ts";
import { GATEWAY_GROUP, SLUICE_GROUP } from "./reference.ts";
import { across, choice, object, type Refuse, words } from "./schema.ts";

const POLICY_TARGETS: Readonly<Record<string, string>> = {
  Gateway: GATEWAY_GROUP,
  HTTPRoute: GATEWAY_GROUP,
  GRPCRoute: GATEWAY_GROUP,
  AIGatewayRoute: SLUICE_GROUP,
};

/** Envoy Gateway's targetRefs: what a traffic or security policy attaches to. */
export const policyTarget = object({
  group: choice([GATEWAY_GROUP, SLUICE_GROUP]).describe("API group of the target."),
  kind: choice(
    ["Gateway", "HTTPRoute", "GRPCRoute", "AIGatewayRoute"],
    ["TLSRoute", "TCPRoute", "UDPRoute", "MCPRoute", "Service", "Backend"],
  ).describe("Kind of the target."),
  name: resourceName().describe("Name of the target, in the policy's namespace."),
  sectionName: sectionName()
    .exactOptional()
    .describe("Name of one listener of the Gateway, or of one rule of the route."),
})
  .superRefine(
    across((target: { readonly group: string; readonly kind: string }, refuse) => {
      const group = POLICY_TARGETS[target.kind];
      if (group !== target.group) refuse(["group"], `must be ${group} for kind ${target.kind}`);
    }),
  )
  .describe("A Gateway or route that the policy applies to.");

export type PolicyTarget = z.infer<typeof policyTarget>;

/** Envoy Gateway's other ways to say what a policy applies to. */
export const OTHER_TARGETS = ["targetRef", "targetSelectors"] as const;

/** `targetRefs` of any policy: at least one, and as many as Gateway API allows. */
export function targetList<Target extends z.ZodType>(target: Target): z.ZodArray<Target> {
  return z.array(target).min(1).max(16);
}

export const policyTargets = targetList(policyTarget).describe(
  "The Gateways and routes that the policy applies to.",
);

/** Refuses a policy that says only what it applies to; `fields` are those of its spec that count. */
export function checkChanges(
  { targetRefs: _targetRefs, ...fields }: { readonly targetRefs: unknown },
  refuse: Refuse,
): void {
  if (Object.keys(fields).length > 0) return;
  refuse([], "must have a field beside targetRefs: it would change nothing");
}

/** The status of a policy: conditions for each ancestor that it attaches to. */
const policyStatus = z
  .looseObject({
    ancestors: z
      .array(
        z.looseObject({
          ancestorRef: z.looseObject({}).describe("The Gateway or route that the policy affects."),
          controllerName: words(253).describe("Who wrote this entry."),
          conditions,
        }),
      )
      .max(32)
      .exactOptional()
      .describe("State of the policy for each Gateway or route that it affects."),
    conditions,
  })
  .describe("What Sluice has made of the policy.");

/** A stored policy of one kind. */
export type Policy<Kind extends string, Spec> = Typed<
  Kind,
  { spec: Spec; status?: z.infer<typeof policyStatus> }
>;

export interface PolicyOptions extends Pick<
  KindOptions,
  "kind" | "plural" | "description" | "columns"
> {
  readonly shortNames: readonly string[];
  readonly spec: z.ZodType;
}

/** A policy of our own group; others add the rest of `KindOptions`. */
export function definePolicy(
  { spec, columns = [], ...options }: PolicyOptions,
  others: Partial<KindOptions> = {},
): KindDefinition {
  return defineKind({
    group: SLUICE_GROUP,
    version: "v1alpha1",
    categories: ["sluice"],
    ...options,
    ...others,
    fields: { spec },
    status: policyStatus,
    columns: [...columns, targetsColumn()],
  });
}

/** Shows `spec.targetRefs` as "HTTPRoute/checkout,…". */
function targetsColumn(): Column {
  return {
    name: "Targets",
    type: "string",
    priority: 0,
    description: "What the policy applies to.",
    value: (resource) => {
      const targets = resource.spec?.["targetRefs"];
      if (!Array.isArray(targets)) return undefined;
      return targets
        .filter((target) => isJsonObject(target))
        .map((target) => `${target["kind"] as string}/${target["name"] as string}`)
        .join(",");
    },
  };
}
