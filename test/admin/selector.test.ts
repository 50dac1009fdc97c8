/** Label and field selectors: what they select, and what is refused rather than ignored. */
import assert from "node:assert/strict";
import test from "node:test";
import { ApiError } from "../../src/admin/api-error.ts";
import { parseFieldSelector, parseLabelSelector } from "../../src/admin/selector.ts";
import type { Resource } from "../../src/resource/resource.ts";

function resource(fields: { labels?: Record<string, string>; [field: string]: unknown }): Resource {
  const { labels, ...rest } = fields;
  return {
    apiVersion: "v1",
    kind: "Event",
    metadata: {
      name: "a,b",
      namespace: "shop",
      uid: "u",
      resourceVersion: "1",
      generation: 1,
      creationTimestamp: "2026-01-01T00:00:00Z",
      ...(labels !== undefined && { labels }),
    },
    ...rest,
  };
}

const LABELS = { app: "web", tier: "front", empty: "" };

const SELECTED: readonly (readonly [string, boolean])[] = [
  ["app=web", true],
  ["app==web", true],
  ["app = web", true],
  ["app=api", false],
  ["app!=api", true],
  ["app!=web", false],
  ["missing!=x", true],
  ["app", true],
  ["missing", false],
  ["!missing", true],
  ["! app", false],
  ["app in (web,api)", true],
  ["app in (api)", false],
  ["app in(web)", true],
  ["app notin (api)", true],
  ["app notin (web)", false],
  ["missing notin (x)", true],
  ["missing in (x)", false],
  ["empty=", true],
  ["missing=", false],
  ["empty in (,x)", true],
  ["app=web,tier in (front,back),!gone", true],
  ["app=web,tier=back", false],
  ["toString", false],
  ["", true],
];

test("label selectors select", () => {
  const labelled = resource({ labels: LABELS });
  for (const [text, expected] of SELECTED) {
    assert.equal(parseLabelSelector(text)(labelled), expected, text);
  }
});

test("what is no label selector is refused", () => {
  const texts = [
    "a=b=c",
    "=x",
    "a b",
    "a in web",
    "a in (b",
    "-a=b",
    "a=-b",
    "app in(web",
    "a,!",
    "$",
  ];
  for (const text of texts) {
    assert.throws(
      () => parseLabelSelector(text),
      (error) => error instanceof ApiError && error.code === 400,
      text,
    );
  }
});

test("field selectors select, by what the kind has", () => {
  const event = resource({
    involvedObject: { kind: "Rollout", name: "checkout", uid: "7" },
    type: "Warning",
    source: { component: "sluice" },
  });
  const table: readonly (readonly [string, boolean])[] = [
    ["metadata.namespace=shop", true],
    ["metadata.name=a\\,b", true],
    ["metadata.name!=a\\,b", false],
    ["involvedObject.name=checkout,involvedObject.kind=Rollout", true],
    ["involvedObject.name=checkout,involvedObject.kind=Gateway", false],
    ["involvedObject.namespace=", true],
    ["type!=Normal", true],
    ["source=sluice", true],
  ];
  for (const [text, expected] of table) {
    assert.equal(parseFieldSelector(text, "Event")(event), expected, text);
  }
});

test("a field that a kind cannot be selected by is refused by name", () => {
  assert.throws(() => parseFieldSelector("spec.version=1", "Backend"), /spec\.version/);
  assert.throws(() => parseFieldSelector("involvedObject.name=x", "Backend"), /not supported/);
  assert.throws(() => parseFieldSelector("metadata.name", "Backend"), /can't understand/);
});
