/**
 * h2spec against an HTTP/2 listener: every case of generic, http2 and hpack passes, but for those that
 * are named here with why they cannot. A case that is named and passes is said too, for then it need
 * not be named.
 */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { test } from "node:test";
import { SERVED, type TestCertificate } from "../support/certificates.ts";
import { oneRoute, testGateway } from "../support/gateway.ts";
import { findGoTool, H2SPEC } from "../support/go-tool.ts";
import { privateKeys, secureParts } from "../support/secure.ts";
import { origin } from "../support/upstream.ts";

const CLOSED = "node:http2 has nghttp2 forget streams that are closed, and ignores frames on them";
const PRIORITY = "RFC 9113 §5.3.2 has done away with priorities, and nghttp2 1.70 ignores them";

/** By section and name: why the case does not pass. */
const EXCEPTIONS: Readonly<Record<string, string>> = {
  "http2/5.1 closed: Sends a DATA frame after sending RST_STREAM frame": CLOSED,
  "http2/5.1 closed: Sends a HEADERS frame after sending RST_STREAM frame": CLOSED,
  "http2/5.1 closed: Sends a DATA frame": CLOSED,
  "http2/5.1 closed: Sends a HEADERS frame": CLOSED,
  "http2/5.1.1 Sends stream identifier that is numerically smaller than previous": CLOSED,
  "http2/5.3.1 Sends PRIORITY frame that depend on itself": PRIORITY,
  "http2/6.3 Sends a PRIORITY frame with 0x0 stream identifier": PRIORITY,
  "http2/6.7 Sends a PING frame with ACK":
    "node:http2 ends the connection of who answers a ping that it was not sent",
  "http2/6.9.1 Sends multiple WINDOW_UPDATE frames increasing the flow control window to above 2^31-1 on a stream":
    "node:http2 ends the connection, where a reset of the stream would do",
};
const PLAIN_EXCEPTIONS: Readonly<Record<string, string>> = {
  "http2/3.5 Sends invalid connection preface":
    "a plain port speaks HTTP/1.1 too, which answers with 400 before it closes",
};
/** Cases that pass or not as the answer and the reset race one another; in a bare server too. */
const RACES: ReadonlySet<string> = new Set([
  "http2/6.1 Sends a DATA frame with invalid pad length",
]);

const h2spec = findGoTool(H2SPEC);

for (const secure of [false, true]) {
  const name = `h2spec on a listener ${secure ? "with TLS" : "without TLS"}`;
  test(name, { skip: "skip" in h2spec ? h2spec.skip : false, timeout: 120_000 }, async () => {
    if ("skip" in h2spec) return;
    await using app = await origin((_request, response) => response.end("x".repeat(1024)));
    const route = { stable: [app.port] };
    const certificates = { a: SERVED[0] as TestCertificate };
    const listeners = [{ hostname: "", certificates: ["a"] }];
    await using gateway = await testGateway(
      secure
        ? {
            parts: secureParts({ listeners, certificates, route }),
            credentials: privateKeys(certificates),
          }
        : { parts: oneRoute(route) },
    );
    const cases = await runCases(h2spec.path, gateway.port, secure ? ["--tls", "--insecure"] : []);
    assert.ok(cases.size > 140, `${cases.size} cases`);
    const failed = [...cases].filter(([each, passed]) => !passed && !RACES.has(each));
    assert.deepEqual(
      failed.map(([each]) => each).toSorted(),
      Object.keys(secure ? EXCEPTIONS : { ...EXCEPTIONS, ...PLAIN_EXCEPTIONS }).toSorted(),
    );
  });
}

async function runCases(
  program: string,
  port: number,
  more: readonly string[],
): Promise<Map<string, boolean>> {
  const directory = mkdtempSync(path.join(tmpdir(), "sluice-h2spec-"));
  try {
    const report = path.join(directory, "report.xml");
    const address = ["--host", "127.0.0.1", "--port", String(port), ...more];
    const child = spawn(program, [...address, "--timeout", "2", "--junit-report", report], {
      stdio: "ignore",
    });
    await once(child, "close");
    return readReport(readFileSync(report, "utf8"));
  } finally {
    rmSync(directory, { recursive: true });
  }
}

/** The cases of a JUnit report and whether each passed, by package and name. */
function readReport(xml: string): Map<string, boolean> {
  const cases = new Map<string, boolean>();
  const pattern = /<testcase package="([^"]*)" classname="([^"]*)"[^>]*>([\s\S]*?)<\/testcase>/g;
  for (const [, section, name, content] of xml.matchAll(pattern)) {
    cases.set(`${section} ${name}`, !/<(?:failure|error)/.test(content ?? ""));
  }
  return cases;
}
