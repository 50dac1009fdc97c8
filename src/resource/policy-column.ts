/** The column of policies' tables that lists what they apply to. */
import { isJsonObject } from "../base/json.ts";
import type { Column } from "./kind.ts";

/** Shows `spec.targetRefs` as "HTTPRoute/checkout,…". */
export function targetsColumn(): Column {
  return {
    name: "Targets",
    type: "string",
    priority: 0,
    description: "What the policy applies to.",
    value: (resource) => {
      const targets = resource.spec?.["targetRefs"];
      if (!Array.isArray(targets)) return undefined;
      return targets
        .filter((target) => isJsonObject(target))
        .map((target) => `${target["kind"] as string}/${target["name"] as string}`)
        .join(",");
    },
  };
}
