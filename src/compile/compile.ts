/**
 * The list of passes from resources to a Program. Pure, synchronous and total: whatever the
 * resources are, what can be served is in the Program and what cannot is said in a status.
 */
import { jsonEqual } from "../base/json.ts";
import { keyText } from "../resource/resource.ts";
import { createAttach } from "./attach.ts";
import { backendStatus } from "./backend-status.ts";
import type { CompileInput, Compiled, StatusDraft } from "./compiled.ts";
import type { CompileContext } from "./context.ts";
import { gatewayStatus } from "./gateway-status.ts";
import { readGrants } from "./grants.ts";
import { readGateways } from "./listeners.ts";
import { compileModelRoutes } from "./models.ts";
import { PartSet } from "./part-set.ts";
import { readPolicies } from "./policies.ts";
import { readCredentials } from "./providers.ts";
import { ResourceIndex } from "./reader.ts";
import { compileHttpRoutes } from "./routes.ts";
import { layOutSockets } from "./sockets.ts";
import { SplitPass } from "./splits.ts";
import { compileWorkloads } from "./workloads.ts";

/**
 * Compiles everything. With `previous`, parts and statuses that came out equal are the same objects
 * as before.
 */
export function compile(input: CompileInput, previous?: Compiled): Compiled {
  const credentials = new Map<string, string>();
  const context = createContext(input, credentials, previous);
  compileHttpRoutes(context);
  compileModelRoutes(context);
  compileWorkloads(context);
  layOutSockets(context);
  for (const node of context.gateways) context.statuses.push(gatewayStatus(node, context));
  for (const backend of input.list("Backend")) {
    context.statuses.push(backendStatus(backend, context.splits.traces));
  }
  return {
    parts: context.parts.parts,
    statuses: reuseStatuses(context.statuses, previous),
    credentials,
    routesOf: new Map(
      [...context.routesOf].map(([key, routes]) => [key, [...routes].toSorted()] as const),
    ),
    splits: context.splits.traces,
  };
}

function createContext(
  input: CompileInput,
  credentials: Map<string, string>,
  previous: Compiled | undefined,
): CompileContext {
  const parts = new PartSet(previous?.parts);
  const mayRefer = readGrants(input);
  const { credentialOf, statuses } = readCredentials(input, mayRefer);
  const gateways = readGateways(input);
  const drafts = [...statuses];
  const splits = new SplitPass({
    index: new ResourceIndex(input),
    parts,
    mayRefer,
    credentialOf,
    useCredential: (ref, value) => credentials.set(ref, value),
  });
  return {
    input,
    parts,
    gateways,
    attach: createAttach(input, gateways),
    mayRefer,
    splits,
    policies: readPolicies({ input, parts, mayRefer, statuses: drafts }),
    statuses: drafts,
    matchesOf: new Map(),
    attachedTo: new Map(),
    routesOf: new Map(),
  };
}

function reuseStatuses(
  drafts: readonly StatusDraft[],
  previous: Compiled | undefined,
): readonly StatusDraft[] {
  if (previous === undefined) return drafts;
  const before = new Map(previous.statuses.map((draft) => [keyText(draft.key), draft]));
  return drafts.map((draft) => {
    const known = before.get(keyText(draft.key));
    return known !== undefined && jsonEqual(known, draft) ? known : draft;
  });
}
