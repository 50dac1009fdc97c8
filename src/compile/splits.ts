/**
 * Backends: for each a split, and for each arm of it a pool. A workload that a Rollout names is
 * compiled from its recorded revisions alone, by the weights that `desiredSplit` says, so that no
 * request reaches a version which the Rollout has not let in.
 */
import type { Backend } from "../resource/backend.ts";
import type { JsonObject } from "../base/json.ts";
import type { Resource, ResourceKey } from "../resource/resource.ts";
import { armId, dataOf, hashOf, revisionHash, versionOf } from "../rollout/revision.ts";
import { desiredSplit } from "../rollout/weight.ts";
import type { BackendTlsOf } from "./backend-tls.ts";
import type { BackendProblem, BackendTarget, Compiled, SplitTrace } from "./compiled.ts";
import { connectBackend, connectService } from "./endpoints.ts";
import type { Connection } from "./endpoints.ts";
import type { PartSet } from "./part-set.ts";
import type { Arm, PartKey, PoolPart, Provider } from "./program.ts";
import { connectProvider } from "./providers.ts";
import type { CredentialOf } from "./providers.ts";
import type { MayRefer } from "./grants.ts";
import { TracingReader } from "./reader.ts";
import type { ResourceIndex } from "./reader.ts";
import { isBackendSpec, isOfKind, isProviderSpec } from "./stored.ts";

/** DESIGN's defaults for what no policy sets. */
const POOL_DEFAULTS = {
  connectTimeoutMs: 5000,
  idleTimeoutMs: 4000,
  responseHeadTimeoutMs: 60_000,
  connectionsPerEndpointMax: 1024,
} as const;

export interface SplitDeps {
  readonly index: ResourceIndex;
  readonly parts: PartSet;
  readonly mayRefer: MayRefer;
  readonly credentialOf: CredentialOf;
  readonly backendTlsOf: BackendTlsOf;
  /** Told of every credential in use. */
  readonly useCredential: (ref: string, value: string) => void;
}

/** Splits of the compilation before that nothing has touched. */
export interface KeptSplits {
  readonly previous: Pick<Compiled, "parts" | "splits" | "credentials">;
  readonly dirty: ReadonlySet<PartKey>;
}

/** Compiles each target once, when a reference first names it, unless it can be kept. */
export class SplitPass {
  readonly traces = new Map<PartKey, SplitTrace>();
  readonly #deps: SplitDeps;
  readonly #kept: KeptSplits | undefined;

  constructor(deps: SplitDeps, kept?: KeptSplits) {
    this.#deps = deps;
    this.#kept = kept;
  }

  resolve(target: BackendTarget): { readonly key: PartKey; readonly trace: SplitTrace } {
    const key = splitKey(target);
    let trace = this.traces.get(key);
    if (trace === undefined) {
      trace = this.#keep(key) ?? compileSplit(this.#deps, key, target);
      this.traces.set(key, trace);
    }
    return { key, trace };
  }

  #keep(key: PartKey): SplitTrace | undefined {
    if (this.#kept === undefined || this.#kept.dirty.has(key)) return undefined;
    const { splits, parts, credentials } = this.#kept.previous;
    const trace = splits.get(key);
    if (trace === undefined || !trace.served) return trace;
    for (const partKey of [key, ...trace.pools]) {
      const part = parts.get(partKey);
      if (part === undefined) return undefined;
      this.#deps.parts.keep(part);
      if (part.type !== "split") continue;
      for (const { provider } of part.arms) {
        const ref = provider?.credential?.ref;
        const value = ref === undefined ? undefined : credentials.get(ref);
        if (ref !== undefined && value !== undefined) this.#deps.useCredential(ref, value);
      }
    }
    return trace;
  }
}

/** The key of the split part of a backend. */
export function splitKey(target: BackendTarget): PartKey {
  const port = target.port === undefined ? "" : `:${target.port}`;
  return `split/${target.kind}/${target.namespace}/${target.name}${port}`;
}

function compileSplit(deps: SplitDeps, key: PartKey, target: BackendTarget): SplitTrace {
  const reader = new TracingReader(deps.index);
  const result = readArms(reader, target);
  if ("problem" in result) return unserved(target, reader, result.problem);
  const pools: PoolPart[] = [];
  const arms: Arm[] = [];
  let problem: BackendProblem | undefined;
  let websocket = false;
  for (const version of result.versions) {
    const connection = connect({ ...deps, reader, target }, version);
    if ("problem" in connection) problem = connection.problem;
    else websocket ||= connection.websocket === true;
    // A canary that cannot be reached must not take the stable version with it: it has no
    // endpoints.
    const { arm, pool } = layOutArm(
      target,
      version,
      "problem" in connection ? NOWHERE : connection,
    );
    if (version.role === "stable" && "problem" in connection) {
      return unserved(target, reader, connection.problem);
    }
    arms.push(arm);
    pools.push(pool);
  }
  for (const pool of pools) deps.parts.add(pool);
  deps.parts.add({ type: "split", key, salt: result.salt, arms });
  const keys = pools.map((pool) => pool.key);
  const reads = [...reader.reads];
  const trace = { target, pools: keys, served: true, websocket, reads };
  return problem === undefined ? trace : { ...trace, problem };
}

function unserved(
  target: BackendTarget,
  reader: TracingReader,
  problem: BackendProblem,
): SplitTrace {
  const reads = [...reader.reads];
  return { target, pools: [], served: false, websocket: false, reads, problem };
}

const NOWHERE: Connection = { endpoints: [] };

/** One version of a workload: a recorded revision, or the live resource where none are kept. */
interface Version {
  readonly revision: string;
  readonly label: string;
  readonly role: Arm["role"];
  readonly weightBp: number;
  readonly spec: JsonObject;
  /** The live resource, for kinds that no Rollout can name. */
  readonly live: Resource;
}

/** Versions that can stand in the id of an arm, which is a label of metrics and a part key. */
const PLAIN_VERSION = /^[\w.+-]{1,63}$/;

type ArmsResult =
  | { readonly versions: readonly Version[]; readonly salt: string }
  | { readonly problem: BackendProblem };

function readArms(reader: TracingReader, target: BackendTarget): ArmsResult {
  const { kind, namespace, name } = target;
  const live = reader.get(kind, namespace, name);
  if (live === undefined) {
    return notFound(`${kind} ${namespace}/${name} does not exist`, { kind, namespace, name });
  }
  const governed = kind === "Service" ? undefined : reader.rolloutOf(target);
  if (governed === undefined) {
    const spec = live.spec ?? {};
    const version = typeof spec["version"] === "string" ? spec["version"] : "live";
    const revision = PLAIN_VERSION.test(version) ? version : revisionHash(kind, spec);
    const arm = { revision, label: version, role: "stable", weightBp: 10_000 } as const;
    return { versions: [{ ...arm, spec, live }], salt: "" };
  }
  const { rollout, revisions } = governed;
  const { stable, canary, canaryWeight } = desiredSplit(rollout, revisions);
  if (stable === undefined) {
    const owner = `Rollout ${namespace}/${rollout.metadata.name}`;
    return notFound(`${kind} ${namespace}/${name} has no revision recorded by ${owner} yet`);
  }
  const canaryBp = canary === undefined ? 0 : Math.round(canaryWeight * 100);
  const versions = [
    ...(canary === undefined ? [] : [versionFrom(canary, live, "canary", canaryBp)]),
    versionFrom(stable, live, "stable", 10_000 - canaryBp),
  ];
  return { versions, salt: rollout.metadata.uid };
}

function versionFrom(
  revision: Resource,
  live: Resource,
  role: Arm["role"],
  weightBp: number,
): Version {
  const label = versionOf(revision);
  return { revision: hashOf(revision), label, role, weightBp, spec: dataOf(revision), live };
}

interface ConnectInput extends SplitDeps {
  readonly reader: TracingReader;
  readonly target: BackendTarget;
}

type ArmConnection = Connection & { readonly provider?: Provider };

function connect(
  input: ConnectInput,
  version: Version,
): ArmConnection | { readonly problem: BackendProblem } {
  const { reader, target, backendTlsOf } = input;
  const deps = { reader, backendTlsOf };
  if (isOfKind(version.live, "Service")) return connectService(deps, version.live, target);
  const { spec } = version;
  if (target.kind === "Backend") {
    return isBackendSpec(spec) ? connectBackend(deps, spec, target) : unreadable(target, version);
  }
  return isProviderSpec(spec)
    ? connectProvider({ ...input, stableSpecOf: (key) => stableSpec(reader, key) }, spec)
    : unreadable(target, version);
}

function unreadable(
  { kind, namespace, name }: BackendTarget,
  { revision }: Pick<Version, "revision">,
): { readonly problem: BackendProblem } {
  const what = `${kind} ${namespace}/${name}`;
  const message = `revision ${revision} of ${what} cannot be read as a ${kind}`;
  return { problem: { reason: "UnsupportedValue", message } };
}

/**
 * What a Backend is at this moment for an LLM provider that names it: the live resource, or its
 * stable revision where it has a Rollout of its own.
 */
function stableSpec(
  reader: TracingReader,
  target: BackendTarget,
): { readonly spec: Backend["spec"] } | { readonly problem: BackendProblem } {
  const arms = readArms(reader, target);
  if ("problem" in arms) return arms;
  const stable = arms.versions.find((version) => version.role === "stable");
  const { spec = {}, revision = "" } = stable ?? {};
  return isBackendSpec(spec) ? { spec } : unreadable(target, { revision });
}

function layOutArm(
  target: BackendTarget,
  version: Version,
  { provider, websocket: _websocket, ...connection }: ArmConnection,
): { readonly arm: Arm; readonly pool: PoolPart } {
  const port = target.port === undefined ? "" : `:${target.port}`;
  const name = `${target.name}${port}`;
  const id = armId(target.kind, target.namespace, name, version.revision);
  const pool: PoolPart = { type: "pool", key: `pool/${id}`, ...connection, ...POOL_DEFAULTS };
  const { role, weightBp } = version;
  const arm = { id, version: version.label, role, weightBp, pool: pool.key };
  return { arm: provider === undefined ? arm : { ...arm, provider }, pool };
}

function notFound(message: string, missing?: ResourceKey): { readonly problem: BackendProblem } {
  const named = missing === undefined ? {} : { missing };
  return { problem: { reason: "BackendNotFound", message, ...named } };
}
