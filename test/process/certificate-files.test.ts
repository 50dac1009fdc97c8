/** Certificates in files: read, watched, and kept while what the files hold cannot be served. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, renameSync, rmSync, symlinkSync, unlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, beforeEach, test } from "node:test";
import { filePairKey, type KeyPairText } from "../../src/compile/certificates.ts";
import { compile } from "../../src/compile/compile.ts";
import { CertificateFiles, readCertificateFiles } from "../../src/process/certificate-files.ts";
import type { Gateway } from "../../src/resource/gateway.ts";
import { SERVED, type TestCertificate } from "../support/certificates.ts";
import { VirtualClock } from "../support/clock.ts";
import { parseDrafts, ResourceSet } from "../compile/resource-set.ts";

const [A, B] = SERVED as [TestCertificate, TestCertificate];

let folder = "";
let certificate = "";
let key = "";

beforeEach(() => {
  folder = mkdtempSync(path.join(tmpdir(), "sluice-files-"));
  [certificate, key] = [path.join(folder, "cert.pem"), path.join(folder, "key.pem")];
});

afterEach(() => rmSync(folder, { recursive: true }));

function gateway(): Gateway {
  const options = `sluice.dev/certificate-file: ${certificate}, sluice.dev/key-file: ${key}`;
  const [draft] = parseDrafts(`
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge}
spec:
  gatewayClassName: sluice
  listeners: [{name: https, protocol: HTTPS, port: 443, tls: {options: {${options}}}}]
`);
  return draft as unknown as Gateway;
}

function write({ certificate: chain, privateKey }: TestCertificate): void {
  writeFileSync(certificate, chain);
  writeFileSync(key, privateKey, { mode: 0o600 });
}

/** Looks after `gateway`, and how often it was told that something is another. */
function watcher(): { readonly now: () => KeyPairText; changes: number; pass: () => void } {
  const clock = new VirtualClock();
  const watched = { now: () => now(), changes: 0, pass: () => clock.advance(1000) };
  const files = new CertificateFiles({ clock, onChange: () => void watched.changes++ });
  const gateways = [gateway()];
  const now = (): KeyPairText => {
    const found = files.of(gateways).get(filePairKey({ certificate, key }));
    assert.ok(found);
    return found;
  };
  return watched;
}

function served(text: KeyPairText): TestCertificate | undefined {
  return "certificate" in text
    ? { certificate: text.certificate, privateKey: text.privateKey }
    : undefined;
}

test("a new pair is told once, however its files came", () => {
  write(A);
  const watched = watcher();
  assert.deepEqual(served(watched.now()), A);
  watched.pass();
  assert.equal(watched.changes, 0);
  write(B);
  watched.pass();
  assert.equal(watched.changes, 1);
  assert.deepEqual(watched.now(), B);
  watched.pass();
  assert.equal(watched.changes, 1);
});

test("symbolic links that are moved are seen, as certbot and Kubernetes move them", () => {
  for (const [name, pair] of [["a", A] as const, ["b", B] as const]) {
    writeFileSync(path.join(folder, `${name}.crt`), pair.certificate);
    writeFileSync(path.join(folder, `${name}.key`), pair.privateKey);
  }
  symlinkSync("a.crt", certificate);
  symlinkSync("a.key", key);
  const watched = watcher();
  assert.deepEqual(served(watched.now()), A);
  for (const [link, target] of [[certificate, "b.crt"] as const, [key, "b.key"] as const]) {
    symlinkSync(target, `${link}.new`);
    renameSync(`${link}.new`, link);
  }
  watched.pass();
  assert.deepEqual(watched.now(), B);
});

test("while one file is new and one is old the pair before is served, and nobody is told", () => {
  write(A);
  const watched = watcher();
  watched.now();
  writeFileSync(certificate, B.certificate);
  watched.pass();
  assert.deepEqual(watched.now(), A);
  assert.equal(watched.changes, 0);
  writeFileSync(key, B.privateKey);
  watched.pass();
  assert.deepEqual(watched.now(), B);
  assert.equal(watched.changes, 1);
});

test("files that stay wrong are told, with what is served meanwhile", () => {
  write(A);
  const watched = watcher();
  watched.now();
  unlinkSync(key);
  watched.pass();
  watched.pass();
  assert.equal(watched.changes, 1);
  assert.deepEqual(served(watched.now()), A);
  assert.match(
    watched.now().problem ?? "",
    /key\.pem cannot be read: there is no such file; the one before is served/,
  );
  write(A);
  watched.pass();
  assert.deepEqual(watched.now(), A);
  assert.equal(watched.changes, 2);
});

test("listeners with one certificate file and a key file each have a certificate each", () => {
  write(A);
  const other = path.join(folder, "other.pem");
  writeFileSync(other, A.privateKey);
  const set = ResourceSet.parse(`
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge}
spec:
  gatewayClassName: sluice
  listeners:
  - {name: a, protocol: HTTPS, port: 443, tls: {options: {
      sluice.dev/certificate-file: ${certificate}, sluice.dev/key-file: ${key}}}}
  - {name: b, protocol: HTTPS, port: 444, tls: {options: {
      sluice.dev/certificate-file: ${certificate}, sluice.dev/key-file: ${other}}}}
`);
  const clock = new VirtualClock();
  const files = new CertificateFiles({ clock, onChange: () => undefined });
  const compiled = () => {
    const edge = set.get("Gateway", "default", "edge") as unknown as Gateway;
    for (const [name, text] of files.of([edge])) set.certificateFiles.set(name, text);
    const { parts, credentials } = compile(set);
    const pairs = [...parts.values()].filter((part) => part.type === "certificate");
    return pairs.map(({ chain, privateKey }) => ({
      certificate: chain,
      privateKey: credentials.get(privateKey.ref),
    }));
  };
  assert.deepEqual(compiled(), [A, A]);
  // Only one of the key files follows the certificate: beside the other the pair before is served.
  write(B);
  clock.advance(1000);
  assert.deepEqual(compiled(), [B, A]);
  files.close();
});

const WRONG: readonly [
  name: string,
  chain: string | null,
  privateKey: string | null,
  says: RegExp,
][] = [
  ["no certificate file", null, A.privateKey, /cert\.pem cannot be read: there is no such file/],
  ["no key file", A.certificate, null, /key\.pem cannot be read: there is no such file/],
  ["no certificate in it", "x", A.privateKey, /cert\.pem has no certificate in PEM/],
  [
    "no key in it",
    A.certificate,
    "x",
    /has no private key in PEM without passphrase in .*key\.pem/,
  ],
  [
    "the key of another",
    A.certificate,
    B.privateKey,
    /has a certificate that does not fit the private key in .*key\.pem/,
  ],
  ["too much", "x".repeat(2 ** 20 + 1), A.privateKey, /larger than 1 MiB/],
];

for (const [name, chain, privateKey, says] of WRONG) {
  test(`wrong: ${name}`, () => {
    if (chain !== null) writeFileSync(certificate, chain);
    if (privateKey !== null) writeFileSync(key, privateKey);
    const found = readCertificateFiles([gateway()]).get(filePairKey({ certificate, key }));
    assert.match(found?.problem ?? "", says);
    assert.doesNotMatch(found?.problem ?? "", /BEGIN|MIG/);
  });
}

test("wrong: a pipe, which would be read for ever", () => {
  execFileSync("mkfifo", [certificate]);
  writeFileSync(key, A.privateKey);
  const found = readCertificateFiles([gateway()]).get(filePairKey({ certificate, key }));
  assert.match(found?.problem ?? "", /cert\.pem cannot be a certificate: it is no regular file/);
});
