/**
 * h2spec against an HTTP/2 listener: every case of generic, http2 and hpack passes, but for one that a
 * port without TLS cannot. Were it to pass, that would be told too.
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

/** A plain port speaks HTTP/1.1 too, which answers with 400 before it closes. */
const FAILS_WITHOUT_TLS = "http2/3.5 Sends invalid connection preface";
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
    const failed = [...cases].filter(([, passed]) => !passed);
    assert.deepEqual(
      failed.map(([each]) => each),
      secure ? [] : [FAILS_WITHOUT_TLS],
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
