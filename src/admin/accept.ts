/**
 * What a client wants back: the resources themselves, a table for people (kubectl), or metadata
 * alone. All of it is JSON; a client that takes nothing but protobuf is told so.
 */
import { notAcceptable } from "./api-error.ts";

export type View = "object" | "table" | "metadata";

const VIEWS: Readonly<Record<string, View>> = {
  Table: "table",
  PartialObjectMetadata: "metadata",
  PartialObjectMetadataList: "metadata",
};

/** The first form in an Accept header that is served; throws ApiError 406 where none is. */
export function viewOf(accept: string | undefined): View {
  if (accept === undefined || accept.trim() === "") return "object";
  for (const range of accept.split(",")) {
    const [mediaType = "", ...parameters] = range.split(";").map((part) => part.trim());
    if (!["application/json", "application/*", "*/*"].includes(mediaType.toLowerCase())) continue;
    const values = new Map(
      parameters.map((parameter) => parameter.split("=", 2) as [string, string | undefined]),
    );
    const as = values.get("as");
    if (as === undefined) return "object";
    const view = Object.hasOwn(VIEWS, as) ? VIEWS[as] : undefined;
    const isMetaV1 = values.get("g") === "meta.k8s.io" && values.get("v") === "v1";
    if (view !== undefined && isMetaV1) return view;
  }
  throw notAcceptable(
    "only the following media types are accepted: application/json, " +
      "application/json;as=Table;v=v1;g=meta.k8s.io, " +
      "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io",
  );
}
