/** Which Gateways are ours, and what is said on the GatewayClasses that make them so. */
import type { ConditionDraft } from "../resource/resource.ts";
import { CONTROLLER_NAME, GATEWAY_CLASS } from "./compiled.ts";
import type { CompileInput, StatusDraft } from "./compiled.ts";
import { SUPPORTED_FEATURES } from "./features.ts";
import { isOfKind, listOf } from "./stored.ts";

/**
 * Whether Gateways of a class are served: `sluice` unless a document gives it to another
 * controller, and all classes whose documents name ours.
 */
export function isOurClass(input: Pick<CompileInput, "get">, name: unknown): boolean {
  if (typeof name !== "string") return false;
  const document = input.get("GatewayClass", "", name);
  if (!isOfKind(document, "GatewayClass")) return name === GATEWAY_CLASS;
  const { controllerName, parametersRef } = document.spec;
  return controllerName === CONTROLLER_NAME && parametersRef === undefined;
}

/** The drafts for all GatewayClasses of ours; those of other controllers are left alone. */
export function gatewayClassStatuses(input: CompileInput): readonly StatusDraft[] {
  return listOf(input, "GatewayClass")
    .filter(({ spec }) => spec.controllerName === CONTROLLER_NAME)
    .map((document) => ({
      key: { kind: document.kind, namespace: "", name: document.metadata.name },
      generation: document.metadata.generation,
      conditions: [acceptedOf(document.spec.parametersRef), SUPPORTED_VERSION],
      supportedFeatures: SUPPORTED_FEATURES.map((name) => ({ name })),
    }));
}

function acceptedOf(parameters: { readonly kind: string } | undefined): ConditionDraft {
  if (parameters === undefined) {
    const message = "GatewayClass is accepted";
    return { type: "Accepted", status: "True", reason: "Accepted", message };
  }
  const message = `parametersRef is not supported: Sluice takes no ${parameters.kind}`;
  const causes = [{ path: ["spec", "parametersRef"], message }];
  return { type: "Accepted", status: "False", reason: "InvalidParameters", message, causes };
}

const SUPPORTED_VERSION: ConditionDraft = {
  type: "SupportedVersion",
  status: "True",
  reason: "SupportedVersion",
  message: "Gateway API v1.6",
};
