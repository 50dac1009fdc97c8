/**
 * Makes an AnalysisRun of templates: pure, so that a rollout can plan the run it is about to start.
 */
import type { JsonObject } from "../base/json.ts";
import type { Resource, ResourceDraft } from "../resource/resource.ts";
import type { Argument, DryRunRule, RetentionRule, TemplateRef } from "./run.ts";

export interface NewAnalysisRunOptions {
  readonly templates: readonly TemplateRef[];
  readonly args?: readonly Argument[];
  readonly dryRun?: readonly DryRunRule[];
  readonly measurementRetention?: readonly RetentionRule[];
  /** Where templates are looked up: the store, or a view of it. */
  readonly view: { get(kind: string, namespace: string, name: string): Resource | undefined };
  /** The Rollout; `fieldRef` arguments read it, and the run is deleted with it. */
  readonly owner: Resource;
  readonly name: string;
  readonly labels?: Readonly<Record<string, string>>;
  readonly annotations?: Readonly<Record<string, string>>;
  /** The arms that the `sluice` provider compares. */
  readonly arms?: { readonly canary: string; readonly stable?: string; readonly split: string };
  /** What `podTemplateHashValue: Stable | Latest` stands for. */
  readonly hashes?: { readonly stable?: string; readonly latest?: string };
}

export type NewAnalysisRun =
  | { readonly ok: true; readonly draft: ResourceDraft & { readonly spec: JsonObject } }
  | { readonly ok: false; readonly message: string };

/** The run that these templates describe, or why there is none (Argo: NewAnalysisRunFromTemplates). */
export function newAnalysisRun(options: NewAnalysisRunOptions): NewAnalysisRun {
  return { ok: false, message: `not yet: ${options.name}` };
}
