/**
 * What goes into a compilation and what comes out of it. Both are plain data: nothing in here
 * depends on the time of day, and nothing that is secret stands anywhere but in `credentials`.
 */
import type { UNIX_SOCKET } from "../resource/gateway.ts";
import type { ConditionDraft, FieldPath, Resource, ResourceKey } from "../resource/resource.ts";
import type { KeyPairText } from "./certificates.ts";
import type { CompileMemo } from "./memo.ts";
import type { PartKey, Program } from "./program.ts";

/** The resources as they are now, and what the data plane could not do. A Store fits. */
export interface CompileInput {
  get(kind: string, namespace: string, name: string): Resource | undefined;
  list(kind: string, namespace?: string): readonly Resource[];
  /** Sockets that could not be opened, by part key, and why. */
  readonly unavailableSockets: ReadonlyMap<PartKey, string>;
  /** Parts that some worker could not put to work, by key, and why. They stay in the Program. */
  readonly failedParts: ReadonlyMap<PartKey, string>;
  /** Certificates in files that Gateways name, by `filePairKey`, as they were when last read. */
  readonly certificateFiles: ReadonlyMap<string, KeyPairText>;
}

export interface Compiled {
  readonly parts: Program;
  /** What to say on which resource; the same object as before where nothing changed. */
  readonly statuses: readonly StatusDraft[];
  /** Values of credentials by `Credential.ref`: sent to workers beside the parts, kept nowhere. */
  readonly credentials: ReadonlyMap<string, string>;
  /** Labels ("NAMESPACE/NAME") of the routes that send requests through a split, by its key. */
  readonly routesOf: ReadonlyMap<PartKey, readonly string[]>;
  /**
   * For the next compilation: what each split was made of, and what else need not be done again.
   */
  readonly splits: ReadonlyMap<PartKey, SplitTrace>;
  readonly memo: CompileMemo;
}

/** Where a split comes from and which resources it was read from. */
export interface SplitTrace {
  readonly target: BackendTarget;
  readonly pools: readonly PartKey[];
  /** Tags of everything that was looked up, found or not; see `tagsOf`. */
  readonly reads: readonly string[];
  /** False where there is no split part: its share of the requests is answered with 500. */
  readonly served: boolean;
  /** It takes WebSockets alone, so that no gRPC call can be sent there. */
  readonly websocket: boolean;
  readonly problem?: BackendProblem;
}

/** What a backendRef names. A Service is always named with a port. */
export interface BackendTarget {
  readonly kind: "Service" | "Backend" | "AIServiceBackend";
  readonly namespace: string;
  readonly name: string;
  readonly port?: number;
}

export interface BackendProblem {
  /** A reason of Gateway API's `ResolvedRefs`, or one of ours where it has none. */
  readonly reason:
    | "BackendNotFound"
    | "FilterNotFound"
    | "InvalidCACertificateRef"
    | "InvalidCredential"
    | "InvalidKind"
    | "RefNotPermitted"
    | "UnsupportedProtocol"
    | "UnsupportedValue";
  readonly message: string;
  /** What is named, and is not there. */
  readonly missing?: ResourceKey;
  /** The field of the reference that is wrong; its name where absent. */
  readonly field?: "kind" | "namespace" | "port";
  /** Where it is written, if not in the reference. */
  readonly at?: FieldPlace;
}

/** A field of some resource. */
export interface FieldPlace {
  readonly resource: ResourceKey;
  readonly path: FieldPath;
}

/** One change of one resource: what a watch event says. */
export interface ResourceChange {
  /** As it is now; for a deletion as it was. */
  readonly resource: Resource;
  readonly previous: Resource | undefined;
  readonly type: "ADDED" | "MODIFIED" | "DELETED";
}

export interface StatusAddress {
  readonly type: "IPAddress" | typeof UNIX_SOCKET;
  readonly value: string;
}

/** What the compiler has to say on one resource: a replacement for its part of the status. */
export interface StatusDraft {
  readonly key: ResourceKey;
  /** The generation of the resource that was compiled. */
  readonly generation: number;
  readonly conditions?: readonly ConditionDraft[];
  /** GatewayClass. */
  readonly supportedFeatures?: readonly { readonly name: string }[];
  /** Gateway. */
  readonly addresses?: readonly StatusAddress[];
  readonly listeners?: readonly ListenerStatusDraft[];
  /** Routes. */
  readonly parents?: readonly ParentStatusDraft[];
  /** Policies. */
  readonly ancestors?: readonly AncestorStatusDraft[];
}

export interface ListenerStatusDraft {
  readonly name: string;
  readonly attachedRoutes: number;
  readonly supportedKinds: readonly { readonly group: string; readonly kind: string }[];
  readonly conditions: readonly ConditionDraft[];
}

export interface ParentReference {
  readonly group: string;
  readonly kind: string;
  readonly namespace?: string;
  readonly name: string;
  readonly sectionName?: string;
  readonly port?: number;
}

export interface ParentStatusDraft {
  readonly parentRef: ParentReference;
  readonly conditions: readonly ConditionDraft[];
}

export interface AncestorStatusDraft {
  readonly ancestorRef: ParentReference;
  readonly conditions: readonly ConditionDraft[];
}

/** Who wrote a status of a route or policy (Gateway API `RouteParentStatus.controllerName`). */
export const CONTROLLER_NAME = "sluice.dev/gateway-controller";

/** The class that is served without a document; see isOurClass (gateway-class.ts). */
export const GATEWAY_CLASS = "sluice";
