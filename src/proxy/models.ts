/**
 * The driver of LLM routes: it collects the request's body, chooses by the model that the body names,
 * and then goes the road of every other request (attempt.ts) with a head of its own.
 */
import type { Exchange } from "./exchange.ts";
import { respondError } from "./respond.ts";
import type { LinkedRule } from "./snapshot.ts";

/** Takes a request of an LLM route, of whose body `x.held` is what has come. */
export function handleModels(x: Exchange, _rule: LinkedRule): void {
  respondError(x, "models_unsupported");
}
