/**
 * The next thing to do about one order (RFC 8555 §7.1.6): pure, from its status and its Challenges.
 * Each step is one exchange with the CA, or none, and may be done again: a process that ends between
 * a step and its record goes on with the same step.
 */
import type { Challenge, Order } from "../../resource/acme.ts";

export interface OrderSeen {
  readonly order: Order;
  readonly challenges: readonly Challenge[];
  /** Names of the Challenges whose answer every worker gives. */
  readonly served: ReadonlySet<string>;
}

export type OrderStep =
  | { readonly type: "rest"; readonly reason?: string }
  | { readonly type: "create" }
  /** Ask what is to be proven, and make a Challenge of each. */
  | { readonly type: "challenge" }
  /** Tell the CA that it may look. */
  | { readonly type: "accept"; readonly challenge: Challenge }
  | { readonly type: "poll" }
  | { readonly type: "finalize" }
  | { readonly type: "download" }
  | { readonly type: "expire" };

/** Orders in these states are never looked at again. */
export function isOver({ status }: Order): boolean {
  const { state, certificate } = status ?? {};
  if (state === "valid") return certificate !== undefined;
  return state === "invalid" || state === "expired" || state === "errored";
}

export function planOrder({ order, challenges, served }: OrderSeen, nowMs: number): OrderStep {
  if (isOver(order)) return { type: "rest" };
  const { status } = order;
  if (status?.url === undefined) return { type: "create" };
  if (status.state === "valid") return { type: "download" };
  if (status.expires !== undefined && Date.parse(status.expires) <= nowMs) {
    return { type: "expire" };
  }
  if (status.state === "processing") return { type: "poll" };
  if (status.state === "ready") return { type: "finalize" };
  if (status.authorizations?.some(({ identifier }) => identifier === undefined) ?? true) {
    return { type: "challenge" };
  }
  const waiting = challenges.filter((one) => one.status?.processing !== true);
  const next = waiting.find((one) => served.has(one.metadata.name));
  if (next !== undefined) return { type: "accept", challenge: next };
  const [first] = waiting;
  return first === undefined ? { type: "poll" } : { type: "rest", reason: whyNotServed(first) };
}

function whyNotServed({ spec, status }: Challenge): string {
  const refused = status?.conditions?.find(
    (one) => one.type === "Accepted" && one.status === "False",
  );
  const what = `the challenge for ${spec.dnsName} is not answered yet`;
  return refused?.message === undefined ? what : `${what}: ${refused.message}`;
}
