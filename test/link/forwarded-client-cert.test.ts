/** X-Forwarded-Client-Cert as Envoy writes it; nothing in a certificate can end a part of it. */
import assert from "node:assert/strict";
import { X509Certificate } from "node:crypto";
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, test } from "node:test";
import { clientCertElement, subjectText } from "../../src/proxy/forwarded-client-cert.ts";

const directory = mkdtempSync(path.join(tmpdir(), "sluice-xfcc-"));
after(() => rmSync(directory, { recursive: true }));

function certificate(subject: string, names: string): X509Certificate {
  const out = path.join(directory, "key.pem");
  const kind = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
  const about = ["-subj", subject, "-addext", `subjectAltName=${names}`, "-days", "2"];
  const pem = execFileSync("openssl", ["req", "-x509", ...kind, "-keyout", out, ...about], {
    stdio: ["ignore", "pipe", "ignore"],
  });
  return new X509Certificate(pem);
}

const client = certificate(
  "/C=DE/O=Shop, Inc./CN=app",
  "URI:spiffe://shop.example/ns/web/sa/app,DNS:app.example,DNS:www.app.example,IP:192.0.2.1",
);
const own = certificate("/CN=edge", "URI:spiffe://shop.example/edge,DNS:edge.example");
const odd = certificate(
  '/CN=a"b;c=d\\\\e/O=ä',
  String.raw`URI:spiffe://x/a;b=c,URI:spiffe://x/q\"u\\v`,
);
const HASH = `Hash=${client.fingerprint256.replaceAll(":", "").toLowerCase()}`;

test("the hash alone, and who was spoken to", () => {
  const chain: string[] = [];
  assert.equal(clientCertElement({ client, chain, own: undefined }, []), HASH);
  const by = "By=spiffe://shop.example/edge";
  assert.equal(clientCertElement({ client, chain, own }, []), `${by};${HASH}`);
});

test("names and subject", () => {
  const element = clientCertElement({ client, chain: [], own: undefined }, [
    "DNS",
    "URI",
    "Subject",
  ]);
  assert.equal(
    element,
    `${HASH};Subject="CN=app,O=Shop\\, Inc.,C=DE";URI=spiffe://shop.example/ns/web/sa/app;` +
      "DNS=app.example;DNS=www.app.example",
  );
});

test("certificates in PEM are escaped as in a URL", () => {
  const pem = client.toString();
  const element = clientCertElement({ client, chain: [pem, pem], own: undefined }, [
    "Cert",
    "Chain",
  ]);
  const [, cert = "", chain = ""] = element.split(";");
  assert.match(element, /^[!-~]+$/);
  assert.equal(decodeURIComponent(/^Cert="(.*)"$/.exec(cert)?.[1] ?? ""), pem);
  assert.equal(decodeURIComponent(/^Chain="(.*)"$/.exec(chain)?.[1] ?? ""), pem + pem);
});

test("odd names stay in their quotes", () => {
  const element = clientCertElement({ client: odd, chain: [], own: undefined }, ["Subject", "URI"]);
  const [, rest = ""] = /^Hash=[0-9a-f]{64};(.*)$/.exec(element) ?? [];
  assert.match(
    rest,
    /^Subject="(?:[^"\\]|\\.)*";URI="spiffe:\/\/x\/a;b=c";URI="spiffe:\/\/x\/q\\"u\\\\v"$/,
  );
  assert.match(rest, /^[ -~]+$/);
});

test("the subject's most specific part comes first", () => {
  assert.equal(subjectText(client), "CN=app,O=Shop\\, Inc.,C=DE");
});
