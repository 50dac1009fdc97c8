/**
 * Policies and what they attach to: which SecurityPolicy and BackendTrafficPolicy hold for a rule
 * on a listener. The closest one holds alone: a rule's before its route's, a route's before those
 * of the listener and the Gateway. Of two for one target the older holds, the other is
 * `Conflicted`.
 */
import { applyMergePatch, jsonEqual } from "../base/json.ts";
import type {
  BackendTrafficPolicy,
  BackendTrafficPolicySpec,
} from "../resource/backend-traffic-policy.ts";
import type { PolicyTarget } from "../resource/policy.ts";
import type { Cause, ConditionDraft, Resource, ResourceKey } from "../resource/resource.ts";
import { keyOf } from "../resource/resource.ts";
import { compareAge, fullName } from "./age.ts";
import { readTraffic } from "./backend-traffic.ts";
import type { TrafficSettings } from "./backend-traffic.ts";
import { compileApiKeyAuth } from "./api-keys.ts";
import type { AncestorStatusDraft, CompileInput, StatusDraft } from "./compiled.ts";
import { isOurClass } from "./gateway-class.ts";
import type { MayRefer } from "./grants.ts";
import type { ListenerNode } from "./listeners.ts";
import type { PartSet } from "./part-set.ts";
import { overriddenBy } from "./policy-overrides.ts";
import type { Holding } from "./policy-overrides.ts";
import type { RulePart } from "./program.ts";
import { listOf } from "./stored.ts";
import type { StoredKinds } from "./stored.ts";
import { readLimits, readSplitHash } from "./traffic-policy.ts";

/** The parts of a rule that policies decide. */
export type RuleSettings = Pick<RulePart, "auth" | "limits" | "splitHash" | "clientCertificate">;

export interface Settings {
  /** Tells apart the settings that one rule has under different Gateways; "" if it has none. */
  readonly scope: string;
  readonly settings: RuleSettings;
  /** Of the BackendTrafficPolicy, for routes with rules of their own. */
  readonly traffic: TrafficSettings;
}

export interface Policies {
  settingsFor(
    rule: { readonly key: ResourceKey; readonly section: string | undefined },
    listener: ListenerNode,
  ): Settings;
}

export interface PolicyDeps {
  readonly input: CompileInput;
  readonly parts: PartSet;
  readonly mayRefer: MayRefer;
  readonly statuses: StatusDraft[];
}

type PolicyKind = "SecurityPolicy" | "BackendTrafficPolicy";
type Policy = StoredKinds[PolicyKind];
/** What attaching needs to know of a policy of any kind. */
interface Attachable extends Pick<Policy, "metadata"> {
  readonly kind: PolicyKind | "ClientTrafficPolicy";
  readonly spec: { readonly targetRefs: readonly object[] };
}

/** Attaches all policies to their targets; adds key sets to `parts` and drafts to `statuses`. */
export function readPolicies(deps: PolicyDeps): Policies {
  const auths = new Map<string, RulePart["auth"]>();
  const security = attachPolicies(deps, "SecurityPolicy", (policy) => {
    const { auth, condition } = compileApiKeyAuth(deps, policy);
    auths.set(fullName(policy), auth);
    return condition;
  });
  const traffic = attachPolicies(deps, "BackendTrafficPolicy", () => undefined);
  return {
    settingsFor({ key, section }, listener) {
      const guard = closest(security, { key, section, listener });
      const shape = shapeOf(traffic, { key, section, listener });
      const auth = guard === undefined ? undefined : auths.get(fullName(guard.policy));
      const limits = shape === undefined ? undefined : readLimits(shape.policy, key);
      const splitHash = shape === undefined ? undefined : readSplitHash(shape.policy);
      const clientCertificate = listener.clientCertificate?.part.key;
      const settings = {
        ...(auth !== undefined && { auth }),
        ...(limits !== undefined && { limits }),
        ...(splitHash !== undefined && { splitHash }),
        ...(clientCertificate !== undefined && { clientCertificate }),
      };
      const own = clientCertificate === undefined ? "" : gatewayScope(listener);
      return {
        scope: [guard?.scope, shape?.scope, own].reduce(longer, ""),
        settings,
        traffic: shape === undefined ? {} : readTraffic(shape.policy.spec),
      };
    },
  };
}

/** The scope of a listener begins with that of its Gateway, so the longer one tells more apart. */
function longer(a: string, b: string | undefined): string {
  return a.length >= (b ?? "").length ? a : (b ?? "");
}

/** What a Gateway says of itself makes a rule differ from the same one under another Gateway. */
function gatewayScope(listener: ListenerNode): string {
  return `@${fullName(listener.gateway)}`;
}

/** The BackendTrafficPolicy of a rule, with what it merges into it of its Gateway's. */
function shapeOf(
  attached: ReadonlyMap<string, BackendTrafficPolicy>,
  rule: RulePlace,
): Closest<BackendTrafficPolicy> | undefined {
  const own = closest(attached, rule);
  if (own?.policy.spec.mergeType === undefined) return own;
  const outer = closest(attached, { ...rule, key: NO_ROUTE, section: undefined });
  if (outer === undefined) return own;
  const spec = mergeSpecs(outer.policy.spec, own.policy.spec);
  // Limits count in the buckets of the policy that they stand in.
  const named = own.policy.spec.rateLimit === undefined ? outer.policy : own.policy;
  return { policy: { ...named, spec }, scope: outer.scope };
}

/** Of fields that exclude one another those of the closer policy alone are taken. */
function mergeSpecs(
  outer: BackendTrafficPolicySpec,
  own: BackendTrafficPolicySpec,
): BackendTrafficPolicySpec {
  const merged = applyMergePatch(outer, own) as BackendTrafficPolicySpec;
  const compressor = own.compressor ?? own.compression ?? outer.compressor ?? outer.compression;
  const split = own.split ?? outer.split;
  return {
    ...merged,
    ...(compressor !== undefined && { compressor }),
    ...(split !== undefined && { split }),
  };
}

/** A key that no policy names, so that those of the Gateway alone are found. */
const NO_ROUTE: ResourceKey = { kind: "", namespace: "", name: "" };

interface RulePlace {
  readonly key: ResourceKey;
  readonly section: string | undefined;
  readonly listener: ListenerNode;
}

interface Closest<P> {
  readonly policy: P;
  readonly scope: string;
}

function closest<P extends Policy>(
  attached: ReadonlyMap<string, P>,
  rule: RulePlace,
): Closest<P> | undefined {
  const { key, section, listener } = rule;
  const gateway = keyOf(listener.gateway);
  const name = listener.spec.name;
  const scope = gatewayScope(listener);
  const candidates = [
    ...(section === undefined ? [] : [{ place: placeText(key, section), scope: "" }]),
    { place: placeText(key), scope: "" },
    { place: placeText(gateway, name), scope: `${scope}/${name}` },
    { place: placeText(gateway), scope },
  ];
  for (const candidate of candidates) {
    const policy = attached.get(candidate.place);
    if (policy !== undefined) return { policy, scope: candidate.scope };
  }
  return undefined;
}

/** Attaches all policies of a kind, oldest first, and says on each how that went. */
function attachPolicies<Kind extends PolicyKind>(
  deps: PolicyDeps,
  kind: Kind,
  compileOne: (policy: StoredKinds[Kind]) => ConditionDraft | undefined,
): ReadonlyMap<string, StoredKinds[Kind]> {
  const attached = new Map<string, StoredKinds[Kind]>();
  const found: { readonly policy: StoredKinds[Kind]; readonly targets: AttachedTarget[] }[] = [];
  for (const policy of listOf(deps.input, kind).toSorted(compareAge)) {
    const own = compileOne(policy);
    const targets: AttachedTarget[] = [];
    for (const target of policy.spec.targetRefs) {
      const ancestorRef = { ...target, namespace: policy.metadata.namespace };
      if (targets.some((one) => jsonEqual(one.ancestorRef, ancestorRef))) continue;
      const first = attachOne(deps.input, attached, { policy, target });
      if (first === undefined) continue;
      const holding = first.status === "True" ? holdingOf(policy, target) : undefined;
      targets.push({
        ancestorRef,
        holding,
        conditions: own === undefined ? [first] : [first, own],
      });
    }
    found.push({ policy, targets });
  }
  const all = found.flatMap(({ targets }) => targets.flatMap(({ holding }) => holding ?? []));
  const find = deps.input.get.bind(deps.input);
  for (const { policy, targets } of found) {
    const ancestors = targets.map(({ ancestorRef, holding, conditions }): AncestorStatusDraft => {
      const overridden = holding === undefined ? undefined : overriddenBy(holding, all, find);
      return {
        ancestorRef,
        conditions: overridden === undefined ? conditions : [...conditions, overridden],
      };
    });
    const { generation } = policy.metadata;
    deps.statuses.push({ key: keyOf(policy), generation, ancestors });
  }
  return attached;
}

interface AttachedTarget extends AncestorStatusDraft {
  /** Undefined where the policy does not hold for the target. */
  readonly holding: Holding | undefined;
}

function holdingOf({ metadata, spec }: Policy, target: PolicyTarget): Holding {
  const { kind, name, sectionName } = target;
  return {
    target: { kind, namespace: metadata.namespace, name },
    section: sectionName,
    merges: "mergeType" in spec && spec.mergeType !== undefined,
  };
}

/** The condition `Accepted`; undefined where the target is a Gateway of another class. */
export function attachOne<P extends Attachable>(
  input: CompileInput,
  attached: Map<string, P>,
  {
    policy,
    target,
  }: {
    readonly policy: P;
    readonly target: Pick<PolicyTarget, "name" | "sectionName"> & { readonly kind: string };
  },
): ConditionDraft | undefined {
  const { kind, name, sectionName } = target;
  const key = { kind, namespace: policy.metadata.namespace, name };
  const resource = input.get(kind, key.namespace, name);
  const what = `${kind} ${key.namespace}/${name}`;
  const path = ["spec", "targetRefs", policy.spec.targetRefs.indexOf(target)];
  if (resource === undefined) {
    const message = `${what} does not exist`;
    return refused("TargetNotFound", { path: [...path, "name"], message, missing: key });
  }
  if (kind === "Gateway" && !isOurClass(input, resource.spec?.["gatewayClassName"])) {
    return undefined;
  }
  if (sectionName !== undefined && !sectionsOf(resource).includes(sectionName)) {
    const known = sectionsOf(resource);
    const valid = known.length === 0 ? "" : `; valid: ${known.join(", ")}`;
    const message = `${what} has no section ${sectionName}${valid}`;
    return refused("TargetNotFound", { path: [...path, "sectionName"], message });
  }
  const place = placeText(key, sectionName);
  const older = attached.get(place);
  if (older !== undefined) {
    const message = `${what} already has the older ${policy.kind} ${fullName(older)}`;
    return refused("Conflicted", { path: [...path, "name"], message });
  }
  attached.set(place, policy);
  return ACCEPTED;
}

/** Names of the listeners of a Gateway, or of the rules of a route. */
function sectionsOf(resource: Resource): readonly string[] {
  const list = resource.spec?.[resource.kind === "Gateway" ? "listeners" : "rules"];
  const items = (Array.isArray(list) ? list : []) as readonly { readonly name?: string }[];
  return items.flatMap((item) => (item.name === undefined ? [] : [item.name]));
}

/** A target and its section, as a key. */
export function placeText({ kind, namespace, name }: ResourceKey, section = ""): string {
  return `${kind}/${namespace}/${name}/${section}`;
}

/** The condition of a policy at one of its targets, where it holds. */
export const ACCEPTED: ConditionDraft = {
  type: "Accepted",
  status: "True",
  reason: "Accepted",
  message: "Policy is accepted",
};

/** The same where it does not. */
export function refused(reason: string, ...causes: readonly Cause[]): ConditionDraft {
  const message = causes.map((one) => one.message).join("; ");
  return { type: "Accepted", status: "False", reason, message, causes };
}
