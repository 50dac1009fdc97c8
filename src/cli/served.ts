/** What a start has come to: the listeners that take requests, and why others do not. */
import { isOurClass } from "../compile/gateway-class.ts";
import { type Listener, UNIX_SOCKET } from "../resource/gateway.ts";
import type { Condition, Resource } from "../resource/resource.ts";
import type { Client } from "./client.ts";

const LOOK_EVERY_MS = 50;
/** Statuses are written once the workers serve; what has none by then is left as it is. */
const WAIT_MS_MAX = 3000;

/** What is served, such as "edge :8080; not edge :8443 (tls/cert.pem has no certificate in PEM)". */
export async function servedAtStart(client: Client): Promise<string> {
  const classes = await client.list("gatewayclass", "");
  let gateways = await client.list("gateway", "");
  for (let waitedMs = 0; waitedMs < WAIT_MS_MAX; waitedMs += LOOK_EVERY_MS) {
    if (gateways.every((one) => !isOurs(one, classes) || isDecided(one))) break;
    await new Promise((resolve) => setTimeout(resolve, LOOK_EVERY_MS));
    gateways = await client.list("gateway", "");
  }
  return servedText(gateways, classes);
}

/** The same of resources as they are. */
export function servedText(gateways: readonly Resource[], classes: readonly Resource[]): string {
  const listeners = gateways.flatMap((gateway) => {
    if (isOurs(gateway, classes)) return listenersOf(gateway);
    const className = JSON.stringify(gateway.spec?.["gatewayClassName"]);
    return [{ where: gateway.metadata.name, problem: `class ${className} is not Sluice's` }];
  });
  const served = listeners.filter(({ problem }) => problem === undefined);
  const left = listeners.filter(({ problem }) => problem !== undefined);
  const nothing = gateways.length === 0 ? "no Gateway yet" : "no listener";
  // Listeners that share a port are told apart by their hosts, which nobody connects to.
  const places = new Set(served.map(({ where }) => where));
  const texts = served.length === 0 ? nothing : [...places].join(", ");
  return [texts, ...left.map(({ where, problem }) => `not ${where} (${problem})`)].join("; ");
}

interface Seen {
  readonly where: string;
  readonly problem: string | undefined;
}

function listenersOf(gateway: Resource): readonly Seen[] {
  const { name } = gateway.metadata;
  return specListeners(gateway).map((listener) => {
    const programmed = programmedOf(gateway, listener.name);
    const places = addressesOf(gateway).map(({ type, value }) =>
      type === UNIX_SOCKET ? `unix:${value}` : `${bracketed(value)}:${listener.port}`,
    );
    const where = places.length === 0 ? `:${listener.port}` : places.join(" ");
    const problem = programmed?.status === "True" ? undefined : programmed?.message;
    return { where: `${name} ${where}`, problem: programmed === undefined ? "waits" : problem };
  });
}

interface ListenerStatus {
  readonly name: string;
  readonly conditions: readonly Condition[];
}

function bracketed(address: string): string {
  return address.includes(":") ? `[${address}]` : address;
}

/** Whether each listener has been told what became of it. */
function isDecided(gateway: Resource): boolean {
  return specListeners(gateway).every(({ name }) => programmedOf(gateway, name) !== undefined);
}

function isOurs(gateway: Resource, classes: readonly Resource[]): boolean {
  const get = (_kind: string, _namespace: string, name: string): Resource | undefined =>
    classes.find((one) => one.metadata.name === name);
  return isOurClass({ get }, gateway.spec?.["gatewayClassName"]);
}

/** The condition of a listener for the Gateway as it is now, and not as it was before an edit. */
function programmedOf(gateway: Resource, name: string): Condition | undefined {
  const statuses = (gateway.status?.["listeners"] ?? []) as readonly object[];
  const status = (statuses as readonly ListenerStatus[]).find((one) => one.name === name);
  const programmed = status?.conditions.find(({ type }) => type === "Programmed");
  return programmed?.observedGeneration === gateway.metadata.generation ? programmed : undefined;
}

function specListeners(gateway: Resource): readonly Listener[] {
  return (gateway.spec?.["listeners"] ?? []) as readonly Listener[];
}

function addressesOf(
  gateway: Resource,
): readonly { readonly type?: string; readonly value: string }[] {
  return (gateway.spec?.["addresses"] ?? []) as readonly { readonly value: string }[];
}
