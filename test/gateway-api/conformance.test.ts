/**
 * The conformance tests of Gateway API over real sockets: every test on HTTP listeners whose
 * features this version serves. The others are skipped by name with the features that are missing.
 */
import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { test } from "node:test";
import { CASES, readManifest, readTests, unservedFeatures } from "./conformance-case.ts";
import type { ConformanceTest } from "./conformance-case.ts";
import { checkCase } from "./conformance-check.ts";
import { runProcedure } from "./procedures.ts";
import { TestGateway } from "./test-gateway.ts";

/** A test passes if its cases pass repeatedly. */
const ROUNDS = 2;

const skipAll = existsSync(CASES)
  ? undefined
  : "the conformance manifests are not beside this checkout";

for (const one of readTests()) {
  const missing = unservedFeatures(one);
  const skip = skipAll ?? (missing.length > 0 ? `not served: ${missing.join(", ")}` : false);
  test(`gateway-api: ${one.test}`, { skip }, () => run(one));
}

async function run(one: ConformanceTest): Promise<void> {
  const names = [...new Set(["base.yaml", one.manifest, ...(one.manifestsAll ?? [])])];
  const gateway = await TestGateway.start(names.map(readManifest));
  try {
    checkRouteConditions(one, gateway);
    const { cases } = one;
    assert.ok(cases.length > 0 || one.procedure !== undefined, "there is nothing to check");
    for (let round = 0; round < ROUNDS; round++) {
      const changing = cases.filter((item) => item.note !== undefined);
      for (const item of cases.filter((other) => !changing.includes(other))) {
        await checkCase(gateway, item);
      }
      if (round === ROUNDS - 1) for (const item of changing) await checkCase(gateway, item);
    }
    await runProcedure(one, gateway);
  } finally {
    await gateway.close();
  }
}

/** Each condition must stand on some route, at some of its parents. */
function checkRouteConditions(one: ConformanceTest, gateway: TestGateway): void {
  const parents = gateway.compiled.statuses
    .filter((draft) => draft.key.kind.endsWith("Route"))
    .flatMap((draft) => draft.parents ?? []);
  for (const { type, status, reason } of one.routeConditions ?? []) {
    const found = parents.some(({ conditions }) =>
      conditions.some(
        (item) => item.type === type && item.status === status && item.reason === reason,
      ),
    );
    assert.ok(found, `${one.test}: no route has ${type}=${status} (${reason})`);
  }
}
