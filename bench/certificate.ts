/** One certificate for both sides of a comparison, so that both sign with the same kind of key. */
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import path from "node:path";

export interface Certificate {
  readonly certificateFile: string;
  readonly keyFile: string;
  readonly certificate: string;
  readonly key: string;
}

const OPENSSL = "openssl";

/** For localhost, self-signed, ECDSA with P-256, as most public certificates are by now. */
export function makeCertificate(directory: string): Certificate {
  const certificateFile = path.join(directory, "tls.crt");
  const keyFile = path.join(directory, "tls.key");
  execFileSync(
    OPENSSL,
    [
      ..."req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2".split(" "),
      ..."-subj /CN=localhost -addext subjectAltName=DNS:localhost".split(" "),
      "-keyout",
      keyFile,
      "-out",
      certificateFile,
    ],
    { stdio: "ignore" },
  );
  return {
    certificateFile,
    keyFile,
    certificate: readFileSync(certificateFile, "utf8"),
    key: readFileSync(keyFile, "utf8"),
  };
}
