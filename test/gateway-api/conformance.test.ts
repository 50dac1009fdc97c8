/**
 * The conformance tests of Gateway API over real sockets: every test on HTTP listeners whose
 * features this version serves. The others are skipped by name with the features that are missing.
 */
import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { test } from "node:test";
import {
  CASES,
  isPlainHttp,
  readManifest,
  readTests,
  unservedFeatures,
} from "./conformance-case.ts";
import type { ConformanceTest } from "./conformance-case.ts";
import { checkCase, send } from "./conformance-check.ts";
import type { Echo } from "./echo.ts";
import { TestGateway } from "./test-gateway.ts";

/** A test passes if its cases pass repeatedly. */
const ROUNDS = 2;

if (!existsSync(CASES)) {
  test("gateway-api", { skip: "the conformance cases are not beside this checkout" }, () => {});
} else {
  for (const one of readTests()) {
    const missing = unservedFeatures(one);
    const skip = missing.length > 0 ? `not served: ${missing.join(", ")}` : false;
    test(`gateway-api: ${one.test}`, { skip }, () => run(one));
  }
}

async function run(one: ConformanceTest): Promise<void> {
  const names = [...new Set(["base.yaml", one.manifest, ...(one.manifestsAll ?? [])])];
  const gateway = await TestGateway.start(names.map(readManifest));
  try {
    checkRouteConditions(one, gateway);
    const cases = one.cases.filter(isPlainHttp);
    assert.ok(cases.length > 0 || one.procedure !== undefined, "there is nothing to check");
    for (let round = 0; round < ROUNDS; round++) {
      const changing = cases.filter((item) => item.note !== undefined);
      for (const item of cases.filter((other) => !changing.includes(other))) {
        await checkCase(gateway, item);
      }
      if (round === ROUNDS - 1) for (const item of changing) await checkCase(gateway, item);
    }
    if (one.procedure?.kind === "weighted-distribution") await checkWeights(one, gateway);
  } finally {
    await gateway.close();
  }
}

/** Each condition must stand on some route, at some of its parents. */
function checkRouteConditions(one: ConformanceTest, gateway: TestGateway): void {
  const parents = gateway.compiled.statuses
    .filter((draft) => draft.key.kind === "HTTPRoute")
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

async function checkWeights(one: ConformanceTest, gateway: TestGateway): Promise<void> {
  const { procedure } = one;
  const total = procedure?.totalRequests ?? 500;
  const counts = new Map<string, number>();
  for (let sent = 0; sent < total; sent++) {
    const options = { ...procedure?.request, gateway: procedure?.gateway ?? "same-namespace" };
    const { status, body } = await send(gateway, options);
    assert.equal(status, 200, body);
    const { pod } = JSON.parse(body) as Echo;
    counts.set(pod, (counts.get(pod) ?? 0) + 1);
  }
  for (const [backend, share] of Object.entries(procedure?.expectedShare ?? {})) {
    const got = (counts.get(`${backend}-0`) ?? 0) / total;
    // Four standard deviations of a fair draw, and never less than what the case allows.
    const noise = 4 * Math.sqrt((share * (1 - share)) / total);
    const allowed = Math.max(procedure?.toleranceAbsolute ?? 0.05, noise);
    assert.ok(Math.abs(got - share) <= allowed, `${backend}: ${got} of ${share}`);
  }
}
