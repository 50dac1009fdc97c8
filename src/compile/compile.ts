/**
 * The list of passes from resources to a Program. Pure, synchronous and total: whatever the
 * resources are, what can be served is in the Program and what cannot is said in a status.
 */
import { jsonEqual } from "../base/json.ts";
import { keyText } from "../resource/resource.ts";
import { readAncestors } from "./ancestors.ts";
import { backendStatus } from "./backend-status.ts";
import { backendTlsStatuses } from "./backend-tls.ts";
import { compileChallenges } from "./challenges.ts";
import type { CompileInput, Compiled, StatusDraft } from "./compiled.ts";
import type { CompileContext } from "./context.ts";
import { readFrame } from "./frame.ts";
import type { Frame } from "./frame.ts";
import { gatewayClassStatuses } from "./gateway-class.ts";
import { gatewayStatus } from "./gateway-status.ts";
import { compileModelRoutes } from "./models.ts";
import { PartSet } from "./part-set.ts";
import type { PartKey } from "./program.ts";
import { ResourceIndex } from "./reader.ts";
import { compileRuleRoutes } from "./routes.ts";
import { layOutSockets } from "./sockets.ts";
import { SplitPass } from "./splits.ts";
import { compileWorkloads } from "./workloads.ts";

/**
 * Compiles everything. With `previous`, parts and statuses that came out equal are the same objects
 * as before.
 */
export function compile(input: CompileInput, previous?: Compiled): Compiled {
  return assemble(input, { frame: readFrame(input, previous?.parts), previous, dirty: undefined });
}

/** As `compile`, where only HTTPRoutes and the splits in `dirty` can have changed. */
export function compileRoutes(
  input: CompileInput,
  previous: Compiled,
  dirty: ReadonlySet<PartKey>,
): Compiled {
  return assemble(input, { frame: previous.memo.frame, previous, dirty });
}

interface AssembleOptions {
  readonly frame: Frame;
  readonly previous: Compiled | undefined;
  /** Splits to compile anew; undefined for all. */
  readonly dirty: ReadonlySet<PartKey> | undefined;
}

function assemble(input: CompileInput, options: AssembleOptions): Compiled {
  const { frame, previous } = options;
  const credentials = new Map(frame.privateKeys);
  const context = createContext(input, credentials, options);
  compileRuleRoutes(context);
  compileModelRoutes(context);
  compileChallenges(context);
  compileWorkloads(context);
  layOutSockets(context);
  context.statuses.push(...gatewayClassStatuses(input));
  for (const node of context.gateways) context.statuses.push(gatewayStatus(node, context));
  for (const backend of input.list("Backend")) {
    context.statuses.push(backendStatus(backend, context.splits.traces));
  }
  context.statuses.push(...backendTlsStatuses(frame.backendTls.policies, readAncestors(context)));
  const { routes, pages } = context;
  return {
    parts: context.parts.parts,
    statuses: reuseStatuses(context.statuses, previous),
    credentials,
    routesOf: new Map(
      [...context.routesOf].map(([key, labels]) => [key, [...labels].toSorted()] as const),
    ),
    splits: context.splits.traces,
    memo: { frame, routes, pages },
  };
}

function createContext(
  input: CompileInput,
  credentials: Map<string, string>,
  { frame, previous, dirty }: AssembleOptions,
): CompileContext {
  const parts = new PartSet(previous?.parts);
  for (const part of frame.frameParts) parts.keep(part);
  const deps = {
    index: new ResourceIndex(input),
    parts,
    mayRefer: frame.mayRefer,
    credentialOf: frame.credentialOf,
    backendTlsOf: frame.backendTls.backendTlsOf,
    useCredential: (ref: string, value: string) => credentials.set(ref, value),
  };
  const keeps = previous !== undefined && dirty !== undefined;
  return {
    ...frame,
    input,
    parts,
    splits: keeps ? new SplitPass(deps, { previous, dirty }) : new SplitPass(deps),
    statuses: [...frame.frameStatuses],
    matchesOf: new Map(),
    attachedTo: new Map(),
    routesOf: new Map(),
    routes: new Map(),
    modelRoutes: [],
    pages: new Map(),
    before: previous?.memo,
  };
}

/**
 * Drafts that say what they said before are the same objects, so that nobody looks at them again.
 */
function reuseStatuses(
  drafts: readonly StatusDraft[],
  previous: Compiled | undefined,
): readonly StatusDraft[] {
  if (previous === undefined) return drafts;
  const before = new Map<string, StatusDraft>();
  const same = new Set(drafts);
  for (const draft of previous.statuses) {
    if (!same.has(draft)) before.set(keyText(draft.key), draft);
  }
  if (before.size === 0 && drafts.length === previous.statuses.length) return previous.statuses;
  return drafts.map((draft) => {
    const known = before.get(keyText(draft.key));
    return known !== undefined && jsonEqual(known, draft) ? known : draft;
  });
}
