/** Conformance tests that are not one request and one answer: shares, mirrored shares, WebSockets. */
import assert from "node:assert/strict";
import type { ConformanceCase, ConformanceTest } from "./conformance-case.ts";
import type { Echo } from "./echo.ts";
import { Calls, exchangeWebSocket, send } from "./send.ts";
import type { TestGateway } from "./test-gateway.ts";

/** The service that every gRPC case calls. */
const ECHO_SERVICE = "gateway_api_conformance.echo_basic.grpcecho.GrpcEcho";

/** Runs what a test describes beside its cases; a kind that is not known fails the test. */
export async function runProcedure(one: ConformanceTest, gateway: TestGateway): Promise<void> {
  switch (one.procedure?.kind) {
    case undefined:
    // The cases say all: what they wait for and count is checked with each of them.
    case "also":
    case "mirror":
    case "retry-simulation":
    case "timeout":
      return;
    case "weighted-distribution":
      await checkWeights(one, gateway);
      return;
    case "percentage-mirror":
      for (const item of one.cases) await checkMirroredShare(one, item, gateway);
      return;
    case "websocket":
      await checkWebSockets(one, gateway);
      return;
    default:
      assert.fail(`unknown procedure ${one.procedure?.kind}`);
  }
}

async function checkWeights(one: ConformanceTest, gateway: TestGateway): Promise<void> {
  const { procedure } = one;
  const total = procedure?.totalRequests ?? 500;
  const counts = new Map<string, number>();
  const calls = new Calls(gateway);
  const name = procedure?.gateway ?? "same-namespace";
  try {
    await repeat(total, procedure?.concurrency ?? 1, async () => {
      const pod =
        procedure?.call === undefined
          ? await podOf(gateway, { ...procedure?.request, gateway: name })
          : await podOfCall(calls, name, procedure.call);
      counts.set(pod, (counts.get(pod) ?? 0) + 1);
    });
  } finally {
    calls.close();
  }
  const shares = Object.entries(procedure?.expectedShare ?? {});
  const expected = new Set(shares.map(([backend]) => podName(backend)));
  for (const pod of counts.keys()) assert.ok(expected.has(pod), `${pod} answered`);
  for (const [backend, share] of shares) {
    const got = (counts.get(podName(backend)) ?? 0) / total;
    // Four standard deviations of a fair draw, and never less than what the case allows.
    const noise = 4 * Math.sqrt((share * (1 - share)) / total);
    const allowed = Math.max(procedure?.toleranceAbsolute ?? 0.05, noise);
    assert.ok(Math.abs(got - share) <= allowed, `${backend}: ${got} of ${share}`);
  }
}

/** The Pod that answers for a backend; what is no name is the status that nobody's answer has. */
function podName(backend: string): string {
  return /^\d+$/.test(backend) ? backend : `${backend}-0`;
}

/** Who answered; the status, where it was not 200. */
async function podOf(gateway: TestGateway, options: Parameters<typeof send>[1]): Promise<string> {
  const { status, body } = await send(gateway, options);
  return status === 200 ? (JSON.parse(body) as Echo).pod : String(status);
}

async function podOfCall(calls: Calls, gateway: string, method: string): Promise<string> {
  const { code, message } = await calls.call(gateway, { service: ECHO_SERVICE, method });
  assert.equal(code, "OK", message);
  return (JSON.parse(message) as Echo).pod;
}

/** Runs `once` so many times, so many of them at a time. */
async function repeat(
  total: number,
  concurrency: number,
  once: () => Promise<void>,
): Promise<void> {
  let left = total;
  const work = async (): Promise<void> => {
    while (left-- > 0) await once();
  };
  await Promise.all(Array.from({ length: concurrency }, work));
}

async function checkMirroredShare(
  { procedure }: ConformanceTest,
  item: ConformanceCase,
  gateway: TestGateway,
): Promise<void> {
  const total = procedure?.totalRequests ?? 500;
  const mirrors = item.mirroredTo ?? [];
  const before = mirrors.map((mirror) => gateway.requestsOf(mirror).length);
  const counts = (): readonly number[] =>
    mirrors.map((mirror, index) => gateway.requestsOf(mirror).length - (before[index] ?? 0));
  const options = { ...item.request, gateway: item.gateway ?? "same-namespace" };
  await repeat(total, procedure?.concurrency ?? 10, async () => {
    const pod = await podOf(gateway, options);
    assert.ok(item.backend === undefined || pod.startsWith(item.backend), pod);
  });
  let seen = counts().join();
  // Copies may still be on their way: they are counted when no more come.
  await gateway.until(() => {
    const now = counts().join();
    const settled = now === seen && mirrors.every((one, at) => isShare(one.percent, counts()[at]));
    seen = now;
    return settled;
  });
  function isShare(percent = 100, count = 0): boolean {
    const share = percent / 100;
    const mean = total * share;
    // Wider than the case's three deviations, which one fair draw in 370 lies beyond.
    return Math.abs(count - mean) <= 4 * Math.sqrt(total * share * (1 - share));
  }
}

async function checkWebSockets(one: ConformanceTest, gateway: TestGateway): Promise<void> {
  const { procedure } = one;
  const options = {
    ...procedure?.request,
    gateway: procedure?.gateway ?? "same-namespace",
  };
  const [who, echoed] = await exchangeWebSocket(gateway, options);
  for (const backend of Object.keys(procedure?.expectedShare ?? {})) {
    assert.equal(who, `${backend}-0`);
  }
  assert.equal(echoed, "hello");
}
