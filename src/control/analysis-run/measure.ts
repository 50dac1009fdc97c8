/**
 * Takes measurements: what the gateway itself counted at once, what a server must be asked in the
 * background, so that a slow server never keeps another run waiting.
 */
import { type PrometheusMetric, prometheusRequest } from "../../analysis/provider/prometheus.ts";
import { type ArmReading, measureSluice, windowOf } from "../../analysis/provider/sluice.ts";
import type { Outcome } from "../../analysis/plan-run.ts";
import type { Metric } from "../../analysis/run.ts";
import type { Clock } from "../../base/clock.ts";
import type { Watched, Windows } from "../../metric/window.ts";
import type { SluiceMetric } from "../../resource/analysis.ts";
import type { DataPlaneView } from "../data-plane.ts";
import type { Arms, RunView } from "./observe.ts";
import { queryPrometheus } from "./query-prometheus.ts";

/** What a metric asks for, by its provider. */
type Provider =
  | { readonly kind: "sluice"; readonly spec: SluiceMetric }
  | { readonly kind: "prometheus"; readonly spec: PrometheusMetric }
  | { readonly kind: "unknown" };

export interface MeasureContext {
  readonly clock: Clock;
  readonly windows: Windows;
  readonly dataPlane: Pick<DataPlaneView, "routesOf">;
}

function providerOf({ provider }: Metric): Provider {
  const { prometheus, plugin } = (provider ?? {}) as {
    readonly prometheus?: PrometheusMetric;
    readonly plugin?: { readonly sluice?: SluiceMetric };
  };
  if (prometheus !== undefined) return { kind: "prometheus", spec: prometheus };
  if (plugin?.sluice !== undefined) return { kind: "sluice", spec: plugin.sluice };
  return { kind: "unknown" };
}

/** The pairs of route and arm that the run's metrics look at. */
export function watchedBy(view: RunView, dataPlane: MeasureContext["dataPlane"]): Watched[] {
  const { arms, metrics } = view;
  if (arms === undefined || !metrics.ok) return [];
  return metrics.value.flatMap((metric) => {
    const provider = providerOf(metric);
    if (provider.kind !== "sluice") return [];
    const routes = routesOf(provider.spec, { view, arms, dataPlane });
    const windowMs = windowOf(provider.spec);
    const ids = arms.stable === undefined ? [arms.canary] : [arms.canary, arms.stable];
    return routes.flatMap((route) => ids.map((arm) => ({ route, arm, windowMs })));
  });
}

function routesOf(
  { route }: SluiceMetric,
  { view, arms, dataPlane }: { view: RunView; arms: Arms; dataPlane: MeasureContext["dataPlane"] },
): readonly string[] {
  const routes = dataPlane.routesOf(arms.split);
  if (route === undefined) return routes;
  const wanted = route.includes("/") ? route : `${view.run.metadata.namespace}/${route}`;
  return routes.includes(wanted) ? [wanted] : [];
}

/**
 * Measures `metric` of the run `view`: an outcome where it is known at once, else the promise of
 * one. `ageMs` bounds how far back the run may look.
 */
export function measure(
  metric: Metric,
  view: RunView,
  options: MeasureContext & { readonly ageMs: number; readonly signal: AbortSignal },
): Outcome | Promise<Outcome> {
  const provider = providerOf(metric);
  switch (provider.kind) {
    case "sluice":
      return measureHere(provider.spec, view, options);
    case "prometheus": {
      const asked = prometheusRequest(provider.spec, options.clock.now());
      if (!asked.ok) return { kind: "error", message: asked.message };
      return queryPrometheus(asked.value, options);
    }
    case "unknown":
      return { kind: "error", message: "no provider specified; valid: prometheus, plugin.sluice" };
    default:
      return provider satisfies never;
  }
}

function measureHere(
  spec: SluiceMetric,
  view: RunView,
  { windows, dataPlane, ageMs }: MeasureContext & { readonly ageMs: number },
): Outcome {
  const { arms } = view;
  if (arms === undefined) {
    const message = "provider sluice measures the arms of a rollout, and this run has no rollout";
    return { kind: "error", message };
  }
  const routes = routesOf(spec, { view, arms, dataPlane });
  if (routes.length === 0 && dataPlane.routesOf(arms.split).length > 0) {
    return { kind: "error", message: `route ${spec.route} sends nothing to ${arms.split}` };
  }
  const read = (arm: string): ArmReading =>
    windows.read({ routes, arm, windowMs: windowOf(spec), ageMs });
  return measureSluice(spec, {
    canary: read(arms.canary),
    stable: arms.stable === undefined ? undefined : read(arms.stable),
  });
}
