/** Sends the request of a conformance case and checks the answer, as the cases' README says. */
import assert from "node:assert/strict";
import type { ConformanceCase } from "./conformance-case.ts";
import type { Echo } from "./echo.ts";
import { Calls, send } from "./send.ts";
import type { Answer } from "./send.ts";
import type { TestGateway } from "./test-gateway.ts";

export async function checkCase(gateway: TestGateway, one: ConformanceCase): Promise<void> {
  await followNote(gateway, one.note);
  if (one.call !== undefined) {
    await checkCall(gateway, one);
    return;
  }
  const copies = one.mirroredTo?.map((mirror) => gateway.requestsOf(mirror).length) ?? [];
  const set = Object.entries(one.backendSetResponseHeaders ?? {});
  const wanted = set.map(([name, value]) => `${name}:${value}`).join(",");
  const answer = await send(gateway, {
    ...one.request,
    headers: {
      ...one.request?.headers,
      ...(wanted !== "" && { "X-Echo-Set-Header": wanted }),
    },
    gateway: one.gateway ?? "same-namespace",
    ...(one.scheme !== undefined && { scheme: one.scheme }),
    ...(one.serverName !== undefined && { serverName: one.serverName }),
    ...(one.listenerPort !== undefined && { port: one.listenerPort }),
  });
  const said = `${one.id}: ${answer.status} ${answer.body}`;
  checkStatus(one, answer.status, said);
  // A case without a backend is one that the gateway answers itself.
  const answered = answer.status === 200 || answer.status === 204;
  if (answered && (one.backend ?? one.namespace) !== undefined) checkEcho(one, answer, said);
  checkResponseHeaders(one, answer, said);
  if (one.redirect !== undefined) checkRedirect(gateway, one, answer);
  // Shares are counted over many requests (procedures.ts).
  for (const [index, mirror] of (one.mirroredTo ?? []).entries()) {
    if (mirror.percent !== undefined) continue;
    const path = one.expectedRequest?.path ?? one.request?.path ?? "/";
    await gateway.until(() => gateway.requestsOf(mirror).slice(copies[index]).includes(path));
  }
}

async function checkCall(gateway: TestGateway, one: ConformanceCase): Promise<void> {
  const calls = new Calls(gateway);
  try {
    const { call } = one;
    assert.ok(call);
    const answer = await calls.call(one.gateway ?? "same-namespace", call, one.listenerPort);
    const said = `${one.id}: ${answer.code} ${answer.message}`;
    // The cases write codes as Go does: "Unimplemented".
    const wanted = (one.response?.code ?? "OK").toUpperCase();
    assert.equal(answer.code.replaceAll("_", ""), wanted, said);
    if (wanted !== "OK") return;
    const echo = JSON.parse(answer.message) as Echo;
    assert.equal(echo.proto, "HTTP/2.0", said);
    assert.equal(echo.path, `/${call.service}/${call.method}`, said);
    if (one.backend !== undefined) assert.ok(echo.pod.startsWith(one.backend), said);
    if (one.namespace !== undefined) assert.equal(echo.namespace, one.namespace, said);
    for (const [name, value] of Object.entries(one.expectedRequest?.headers ?? {})) {
      assert.equal(echo.headers[name.toLowerCase()]?.join(","), value, `${said}: ${name}`);
    }
    for (const name of one.expectedRequest?.absentHeaders ?? []) {
      assert.equal(echo.headers[name.toLowerCase()], undefined, `${said}: ${name}`);
    }
    checkResponseHeaders(one, { status: 200, headers: answer.headers, body: "" }, said);
  } finally {
    calls.close();
  }
}

const DELETION = /^send after deleting the (\w+) named ([\w-]+) in ([\w-]+)$/;

/** What has to happen before a case; an unknown note fails the test rather than being skipped. */
async function followNote(gateway: TestGateway, note: string | undefined): Promise<void> {
  if (note === undefined) return;
  const found = DELETION.exec(note);
  assert.ok(found, `unknown note: ${note}`);
  const [, kind = "", name = "", namespace = ""] = found;
  await gateway.remove(kind, namespace, name);
}

function checkStatus(one: ConformanceCase, status: number, said: string): void {
  const { statusCode = 200, statusCodes = [statusCode] } = one.response ?? {};
  const accepted = statusCodes.includes(504) ? [...statusCodes, 408] : statusCodes;
  assert.ok(accepted.includes(status), `${said}; expected ${accepted.join(" or ")}`);
}

/** The request that the backend saw: the one expected, or else the one that was sent. */
function checkEcho(one: ConformanceCase, answer: Answer, said: string): void {
  const echo = JSON.parse(answer.body) as Echo;
  const expected = one.expectedRequest ?? one.request ?? {};
  const method = expected.method ?? one.request?.method ?? "GET";
  const path = expected.path ?? one.request?.path ?? "/";
  // Queries that the cases list apart are made for each request.
  assert.equal(one.request?.query === undefined ? echo.path : echo.path.split("?")[0], path, said);
  assert.equal(echo.method, method, said);
  if (expected.host !== undefined) assert.equal(echo.host, expected.host, said);
  for (const [name, value] of Object.entries(expected.headers ?? {})) {
    assert.equal(echo.headers[name.toLowerCase()]?.join(","), value, `${said}: ${name}`);
  }
  for (const name of one.expectedRequest?.absentHeaders ?? []) {
    assert.equal(echo.headers[name.toLowerCase()], undefined, `${said}: ${name}`);
  }
  if (one.backend !== undefined) assert.ok(echo.pod.startsWith(one.backend), said);
  if (one.namespace !== undefined) assert.equal(echo.namespace, one.namespace, said);
}

function checkResponseHeaders(one: ConformanceCase, answer: Answer, said: string): void {
  const { headers, validHeaderValues, absentHeaders, ignoreWhitespace } = one.response ?? {};
  const plain = (text: string): string =>
    ignoreWhitespace === true ? text.replaceAll(/\s/g, "") : text;
  const valueOf = (name: string): string =>
    plain((answer.headers[name.toLowerCase()] ?? []).join(","));
  for (const [name, value] of Object.entries(headers ?? {})) {
    assert.equal(valueOf(name), plain(value), `${said}: ${name}`);
  }
  for (const [name, values] of Object.entries(validHeaderValues ?? {})) {
    assert.ok(values.map(plain).includes(valueOf(name)), `${said}: ${name}: ${valueOf(name)}`);
  }
  for (const name of absentHeaders ?? []) {
    assert.equal(answer.headers[name.toLowerCase()], undefined, `${said}: ${name}`);
  }
}

const WELL_KNOWN: Readonly<Record<string, string>> = { "http:": "80", "https:": "443" };

/** A missing part is that of the request; a missing port may be absent or the scheme's own. */
function checkRedirect(gateway: TestGateway, one: ConformanceCase, answer: Answer): void {
  const location = answer.headers["location"]?.[0] ?? "";
  const url = URL.parse(location);
  assert.ok(url, `${one.id}: Location ${JSON.stringify(location)}`);
  const { redirect = {}, request: sent } = one;
  const own = gateway.addressOf(one.gateway ?? "same-namespace", one.listenerPort ?? 80).host;
  assert.equal(url.protocol, `${redirect.scheme ?? "http"}:`, location);
  assert.equal(url.hostname, redirect.host ?? sent?.host ?? own, location);
  assert.equal(url.pathname, redirect.path ?? sent?.path ?? "/", location);
  const standard = WELL_KNOWN[url.protocol] ?? "";
  const port = url.port === "" ? standard : gateway.manifestPort(url.port);
  assert.equal(port, redirect.port ?? standard, location);
}
