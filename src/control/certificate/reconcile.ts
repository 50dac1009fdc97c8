/**
 * The controller of certificates: Gateways' annotations become Certificates, issuers get accounts,
 * Certificates get orders, orders get answers and come to an end. What a CA takes its time for is
 * done beside the loop (tasks.ts), one piece at a time for each resource; everything that must
 * outlive the process is in resources.
 */
import type { Clock } from "../../base/clock.ts";
import type { Logger } from "../../base/log.ts";
import type { Random } from "../../base/random.ts";
import { isOurClass } from "../../compile/gateway-class.ts";
import type { Certificate } from "../../resource/certificate.ts";
import type { Gateway } from "../../resource/gateway.ts";
import type { Resource } from "../../resource/resource.ts";
import type { Change, Store } from "../../store/store.ts";
import type { DataPlaneView } from "../data-plane.ts";
import { eventChange } from "../event.ts";
import type { Outcome, Reconciler } from "../reconciler.ts";
import type { ConnectAcme } from "./acme.ts";
import { AcmeError } from "./acme-error.ts";
import { Certificates, COMPONENT } from "./certificates.ts";
import { gatewayCertificates } from "./gateway-certificates.ts";
import { Issuers } from "./issuers.ts";
import { isLate, Orders } from "./orders.ts";
import { Tasks } from "./tasks.ts";

export interface CertificateControllerOptions {
  readonly store: Store;
  readonly clock: Clock;
  readonly random: Random;
  readonly dataPlane: Pick<DataPlaneView, "serves">;
  readonly connect: ConnectAcme;
  /** Asks the driver to run this reconciler: a CA has answered. */
  readonly wake: () => void;
  readonly log?: Pick<Logger, "warn">;
}

export interface CertificateController extends Reconciler {
  /** Ends all requests to CAs. */
  close(): void;
}

/** The reconciler of Certificates and all that belongs to them. */
export function createCertificateController(
  options: CertificateControllerOptions,
): CertificateController {
  return new Controller(options);
}

class Controller implements CertificateController {
  readonly name = "certificate";
  readonly #options: CertificateControllerOptions;
  readonly #tasks: Tasks;
  readonly #issuers: Issuers;
  readonly #orders: Orders;
  readonly #certificates: Certificates;
  /** What was complained of on each Gateway, by UID, so that it is said once. */
  #told: ReadonlyMap<string, readonly string[]> = new Map();

  constructor(options: CertificateControllerOptions) {
    this.#options = options;
    const { store, clock, random, dataPlane, connect, wake, log } = options;
    const tasks = new Tasks({
      clock,
      random,
      wake,
      onFailure: (key, error) => {
        const what = workName(store, key);
        // What a CA says is for people; a stack would only tell where we heard it.
        if (error instanceof AcmeError) log?.warn({}, `${what} waits: ${error.message}`);
        else log?.warn({ err: error }, `${what} waits`);
      },
    });
    const issuers = new Issuers({ store, clock, tasks, connect });
    this.#tasks = tasks;
    this.#issuers = issuers;
    this.#orders = new Orders({ store, clock, dataPlane, issuers, tasks });
    this.#certificates = new Certificates({ store, clock, random, issuers });
  }

  async reconcile(): Promise<Outcome> {
    const { clock } = this.#options;
    const wakes: (number | undefined)[] = [];
    if (await this.#attempt(() => this.#readGateways())) wakes.push(clock.now());
    const { wakes: issuerWakes, keys } = this.#issuers.look();
    wakes.push(...issuerWakes);
    const kept = new Set(keys);
    for (const resource of this.#options.store.list("Certificate")) {
      const certificate = resource as Resource & Certificate;
      const looked = this.#certificates.look(certificate);
      const { order } = looked.seen;
      if (order !== undefined) kept.add(order.metadata.uid);
      if (await this.#attempt(() => this.#certificates.apply(looked))) {
        wakes.push(clock.now());
        continue;
      }
      wakes.push(looked.plan.wakeAtMs);
      const underWay = looked.plan.issuing !== undefined && looked.plan.step.type === "rest";
      if (order !== undefined && underWay) wakes.push(this.#orders.advance(order, certificate));
    }
    this.#tasks.keepOnly(kept);
    const wakeAtMs = Math.min(...wakes.map((wake) => wake ?? Infinity));
    return { wakeAtMs: wakeAtMs === Infinity ? undefined : wakeAtMs };
  }

  close(): void {
    this.#tasks.keepOnly(new Set());
    this.#issuers.close();
  }

  /** True where there is more to decide: something was written, by us or by others before us. */
  async #attempt(action: () => Promise<boolean>): Promise<boolean> {
    try {
      return await action();
    } catch (error) {
      if (!isLate(error)) throw error;
      return true;
    }
  }

  /** Brings about what Gateways ask for by annotation. */
  async #readGateways(): Promise<boolean> {
    const { store, clock } = this.#options;
    const told = new Map<string, readonly string[]>();
    const changes: Change[] = [];
    let changed = false;
    for (const resource of store.list("Gateway")) {
      const gateway = resource as Resource & Gateway;
      if (!isOurClass(store, gateway.spec.gatewayClassName)) continue;
      const { namespace, uid } = gateway.metadata;
      const certificates = store.list("Certificate", namespace) as readonly (Resource &
        Certificate)[];
      const wanted = gatewayCertificates(gateway, certificates);
      const complaints = wanted.events.filter(({ reason }) => reason === "BadConfig");
      told.set(
        uid,
        complaints.map(({ message }) => message),
      );
      changed ||= wanted.changes.length > 0;
      changes.push(...wanted.changes);
      for (const { reason, message } of wanted.events) {
        const warning = reason === "BadConfig";
        if (warning && this.#told.get(uid)?.includes(message) === true) continue;
        const options = { store, nowMs: clock.now(), component: COMPONENT };
        changes.push(eventChange(resource, { reason, message, warning }, options));
      }
    }
    if (changes.length > 0) await store.commit(changes);
    this.#told = told;
    return changed;
  }
}

/** "Order shop/tls-1": whose work has the key, which is a UID. */
function workName(store: Pick<Store, "list">, key: string): string {
  for (const kind of ["Order", "Issuer", "ClusterIssuer"]) {
    const found = store.list(kind).find(({ metadata }) => metadata.uid === key);
    if (found === undefined) continue;
    const { namespace, name } = found.metadata;
    return namespace === "" ? `${kind} ${name}` : `${kind} ${namespace}/${name}`;
  }
  return "A certificate's order";
}
