/**
 * Documents that others wrote: Gateway API's conformance manifests and invalid examples, and the
 * examples of Argo Rollouts. Each is accepted, or refused with a place and by name.
 */
import assert from "node:assert/strict";
import { existsSync, globSync, readFileSync } from "node:fs";
import { test } from "node:test";
import { formatIssue, type Issue } from "../../src/resource/issue.ts";
import { KINDS_TO_COME } from "../../src/resource/kinds.ts";
import { parseDocuments, type ParsedText } from "../../src/resource/parse.ts";

const CASES = "../shared/cases";
const skip = existsSync(CASES) ? false : `${CASES} does not exist`;

function parseFile(file: string): ParsedText {
  return parseDocuments(readFileSync(file, "utf8"), file);
}

function assertPlaced(issues: readonly Issue[]): void {
  for (const issue of issues) {
    assert.ok((issue.line ?? 0) >= 1 && (issue.column ?? 0) >= 1, formatIssue(issue));
    assert.match(formatIssue(issue), /\.yaml:\d+:\d+: /);
  }
}

/** What each invalid example is refused for: the path that its first issue names. */
const INVALID: Readonly<Record<string, string>> = {
  "gateway/duplicate-listeners": "spec.listeners[1].name",
  "gateway/invalid-addresses": "spec.addresses[0].value",
  "gateway/invalid-listener-name": "spec.listeners[0].name",
  "gateway/invalid-listener-port": "spec.listeners[0].port",
  "httproute/duplicate-header-match": "spec.rules[0].matches[0].headers[1].name",
  "httproute/invalid-filter-externalauth-bad-http-path": "spec.rules[0].filters[0].type",
  "httproute/httproute-portless-service": "spec.rules[0].backendRefs[0].port",
  "httproute/invalid-backend-port": "spec.rules[0].backendRefs[0].port",
  "httproute/invalid-filter-empty": "spec.rules[0].filters[0].requestHeaderModifier",
  "httproute/invalid-filter-wrong-field": "spec.rules[0].filters[0].requestHeaderModifier",
  "httproute/invalid-header-name": "spec.rules[0].matches[0].headers[0].name",
  "httproute/invalid-hostname": "spec.hostnames[0]",
  "httproute/invalid-httpredirect-hostname": "spec.rules[0].filters[0].requestRedirect.hostname",
  "httproute/invalid-method": "spec.rules[0].matches[0].method",
  "httproute/invalid-path-alphanum-specialchars-mix": "spec.rules[0].matches[0].path.value",
  "referencegrant/missing-to": "spec.to",
};

test("gateway-api: every invalid example is refused where it is wrong", { skip }, () => {
  const files = globSync(`${CASES}/gateway-api/invalid/*/*/*.yaml`);
  assert.ok(files.length > 0);
  for (const file of files) {
    const { documents, issues } = parseFile(file);
    assert.equal(documents.length, 0, file);
    assert.notEqual(issues.length, 0, file);
    assertPlaced(issues);
    const name = /(?:standard|experimental)\/(.+)\.yaml$/.exec(file)?.[1];
    const wanted = name === undefined ? undefined : INVALID[name];
    if (wanted === undefined) continue;
    const paths = issues.map(({ path }) => path);
    assert.ok(paths.includes(wanted), `${file}: ${wanted} is not among ${paths.join(", ")}`);
  }
});

test("gateway-api: every manifest is accepted", { skip }, () => {
  const files = globSync(`${CASES}/gateway-api/*.yaml`).toSorted();
  assert.ok(files.length > 0);
  for (const file of files) {
    const { documents, issues } = parseFile(file);
    assert.deepEqual(issues.map(formatIssue), [], file);
    assert.notEqual(documents.length, 0, file);
  }
});

test("argo-rollouts: every example is accepted, or refused by name", { skip }, () => {
  const root = `${CASES}/argo-rollouts`;
  const index = JSON.parse(readFileSync(`${root}/index.json`, "utf8")) as {
    path: string;
    kinds: string[];
    features: string[];
  }[];
  for (const { path, kinds, features } of index) {
    if (!existsSync(`${root}/${path}`)) continue;
    const { documents, issues } = parseFile(`${root}/${path}`);
    assertPlaced(issues);
    const text = issues.map(formatIssue).join("\n");
    if (kinds.includes("Rollout")) {
      // Pods need a cluster, and the message says what to write instead.
      assert.match(text, /spec\.(template|workloadRef)|kind: /, path);
      assert.ok(
        documents.every(({ draft }) => draft.kind !== "Rollout"),
        path,
      );
    }
    for (const feature of features) {
      if (["setWeight", "pause", "analysis", "measurementRetention"].includes(feature)) continue;
      assert.ok(text.includes(feature), `${path}: no issue names ${feature}`);
    }
    for (const kind of kinds.filter((name) => KINDS_TO_COME.includes(name))) {
      assert.ok(text.includes(`kind: ${kind} is not supported`), `${path}: ${kind}`);
    }
  }
});
