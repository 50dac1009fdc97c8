/**
 * Certificates for tests. Those of SERVED are constant, for golden files; they were made for these
 * tests alone and vouch for nothing. Tests on sockets have theirs made by the openssl command.
 */
import { execFileSync } from "node:child_process";
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";

export interface TestCertificate {
  readonly certificate: string;
  readonly privateKey: string;
}

/** For a.example and b.example, each signed by itself. */
export const SERVED: readonly TestCertificate[] = [
  {
    certificate: `-----BEGIN CERTIFICATE-----
MIIBlDCCATugAwIBAgIUDktFbSSrQQPNgbT/MulETSDZ8eQwCgYIKoZIzj0EAwIw
FDESMBAGA1UEAwwJYS5leGFtcGxlMCAXDTI2MTEyMzIwMTc0NloYDzIxMjYxMDMw
MjAxNzQ2WjAUMRIwEAYDVQQDDAlhLmV4YW1wbGUwWTATBgcqhkjOPQIBBggqhkjO
PQMBBwNCAAQQEoelBEEIv2JZZ71KZIHOlNKs2RwcuLzfTfErQeaUpZsArL0HzHnn
gYzjFoyAvvee7BMprJBWfh4OKwjtAz0Uo2kwZzAdBgNVHQ4EFgQUBXlP1TLRp/jA
9+BAzuZYKIlcA88wHwYDVR0jBBgwFoAUBXlP1TLRp/jA9+BAzuZYKIlcA88wDwYD
VR0TAQH/BAUwAwEB/zAUBgNVHREEDTALgglhLmV4YW1wbGUwCgYIKoZIzj0EAwID
RwAwRAIgc2iEmfmfeDZlwhLtLRUR8CHeozPIN47D5PKDa48PTYICIHWyvX7RL4PM
WmQoLBCoiuoCO4iZOlyTvF9AY3GR+UBI
-----END CERTIFICATE-----
`,
    privateKey: `-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg6elNrVow72FDDOmW
hfgmjx32wcotPYAlrBvir5Zl0DmhRANCAAQQEoelBEEIv2JZZ71KZIHOlNKs2Rwc
uLzfTfErQeaUpZsArL0HzHnngYzjFoyAvvee7BMprJBWfh4OKwjtAz0U
-----END PRIVATE KEY-----
`,
  },
  {
    certificate: `-----BEGIN CERTIFICATE-----
MIIBlDCCATugAwIBAgIUf03GcxtIoXI+MyP2UdPlG3e7QrwwCgYIKoZIzj0EAwIw
FDESMBAGA1UEAwwJYi5leGFtcGxlMCAXDTI2MTEyMzIwMTc0NloYDzIxMjYxMDMw
MjAxNzQ2WjAUMRIwEAYDVQQDDAliLmV4YW1wbGUwWTATBgcqhkjOPQIBBggqhkjO
PQMBBwNCAATX8NDTez5j4ZrKD0foIm91AcvhqoROfi55LCm6RY2jC5N3qgTvC341
T5a9ES+yrEUHcyYH7aeYou50r2OMsHQho2kwZzAdBgNVHQ4EFgQUkD2Ii5QWxImC
MoxPBLNTvESm9lcwHwYDVR0jBBgwFoAUkD2Ii5QWxImCMoxPBLNTvESm9lcwDwYD
VR0TAQH/BAUwAwEB/zAUBgNVHREEDTALggliLmV4YW1wbGUwCgYIKoZIzj0EAwID
RwAwRAIgPVUKu3o/1383pYRnzKD3FQJlpiYcY4zs+oEW7VRCiNcCIGgQIDJERt1/
1kqQ4hQs9LG180sV0s9Sd6/zQkHlYQRY
-----END CERTIFICATE-----
`,
    privateKey: `-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgyxvPIgIEIW8PXglt
smXQIbRmChlaLNwx5j/CNqK9uy6hRANCAATX8NDTez5j4ZrKD0foIm91AcvhqoRO
fi55LCm6RY2jC5N3qgTvC341T5a9ES+yrEUHcyYH7aeYou50r2OMsHQh
-----END PRIVATE KEY-----
`,
  },
];

export interface IssueOptions {
  /** "DNS:shop.example,URI:spiffe://x/app". */
  readonly names: string;
  readonly subject?: string;
  readonly kind?: "ec" | "rsa";
}

/** Whether the openssl command is there, which makes certificates. */
export function hasOpenssl(): boolean {
  try {
    execFileSync("openssl", ["version"], { stdio: "ignore" });
    return true;
  } catch {
    return false;
  }
}

/** A certificate authority with a folder of its own, which is gone at the end. */
export class TestAuthority implements Disposable {
  readonly directory = mkdtempSync(path.join(tmpdir(), "sluice-certificates-"));
  readonly certificate: string;
  #issued = 0;

  constructor(name = "Test Authority") {
    const out = ["-keyout", this.#file("ca.key"), "-out", this.#file("ca.crt"), "-days", "2"];
    openssl(["req", "-x509", ...newKey("ec"), ...out, "-subj", `/CN=${name}`]);
    chmodSync(this.#file("ca.key"), 0o600);
    this.certificate = readFileSync(this.#file("ca.crt"), "utf8");
  }

  issue(options: IssueOptions): TestCertificate {
    const name = `issued-${this.#issued++}`;
    const [key, request, cert, extensions] = ["key", "csr", "crt", "ext"].map((ending) =>
      this.#file(`${name}.${ending}`),
    ) as [string, string, string, string];
    const subject = ["-utf8", "-subj", options.subject ?? `/CN=${name}`];
    openssl(["req", ...newKey(options.kind ?? "ec"), "-keyout", key, "-out", request, ...subject]);
    chmodSync(key, 0o600);
    writeFileSync(extensions, `subjectAltName=${options.names}\nbasicConstraints=CA:FALSE\n`);
    const signer = ["-CA", this.#file("ca.crt"), "-CAkey", this.#file("ca.key"), "-CAcreateserial"];
    openssl([
      "x509",
      "-req",
      "-in",
      request,
      ...signer,
      "-days",
      "2",
      "-extfile",
      extensions,
      "-out",
      cert,
    ]);
    return { certificate: readFileSync(cert, "utf8"), privateKey: readFileSync(key, "utf8") };
  }

  /** Signs a request as it stands, for whole days from now. */
  sign(request: string, days: number): string {
    const file = this.write(`signed-${this.#issued++}.csr`, request);
    const signer = ["-CA", this.#file("ca.crt"), "-CAkey", this.#file("ca.key"), "-CAcreateserial"];
    const copied = ["-copy_extensions", "copy", "-days", String(days), "-out", `${file}.crt`];
    openssl(["x509", "-req", "-in", file, ...signer, ...copied]);
    return readFileSync(`${file}.crt`, "utf8");
  }

  /** Puts a text into a file that only its owner may read; returns its path. */
  write(name: string, content: string): string {
    writeFileSync(this.#file(name), content, { mode: 0o600 });
    return this.#file(name);
  }

  [Symbol.dispose](): void {
    rmSync(this.directory, { recursive: true });
  }

  #file(name: string): string {
    return path.join(this.directory, name);
  }
}

function newKey(kind: "ec" | "rsa"): string[] {
  const parameters = kind === "ec" ? ["-pkeyopt", "ec_paramgen_curve:prime256v1"] : [];
  return ["-newkey", kind === "ec" ? "ec" : "rsa:2048", ...parameters, "-nodes"];
}

function openssl(args: readonly string[]): void {
  execFileSync("openssl", args, { stdio: "ignore" });
}
