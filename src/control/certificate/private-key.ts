/** Private keys and certificate signing requests. Keys leave here for Secrets alone. */
import { createPrivateKey, generateKeyPair, type KeyObject } from "node:crypto";
import { promisify } from "node:util";
import type { CertificateSpec } from "../../resource/certificate.ts";

const generate = promisify(generateKeyPair);

type KeySpec = CertificateSpec["privateKey"];

/** A new private key of the form that a Certificate asks for, as PEM. */
export async function makePrivateKey({ algorithm, size, encoding }: KeySpec): Promise<string> {
  const { privateKey } =
    algorithm === "RSA"
      ? await generate("rsa", { modulusLength: size ?? 2048 })
      : await generate("ec", { namedCurve: size === 384 ? "P-384" : "P-256" });
  const type = encoding === "PKCS8" ? "pkcs8" : algorithm === "RSA" ? "pkcs1" : "sec1";
  return pem(privateKey, type);
}

/** The key of an account at a CA: P-256, which all of them take. */
export async function makeAccountKey(): Promise<string> {
  const { privateKey } = await generate("ec", { namedCurve: "P-256" });
  return pem(privateKey, "sec1");
}

function pem(key: KeyObject, type: "pkcs1" | "pkcs8" | "sec1"): string {
  return key.export({ type, format: "pem" }).toString();
}

/** A request (PKCS #10, PEM) for a Certificate's names. Throws where `privateKey` is none. */
export async function makeRequest(spec: CertificateSpec, privateKey: string): Promise<string> {
  const { dnsNames, commonName } = spec;
  // The library reads PKCS #8 in all its ways; what is stored may be of another form.
  const key = pem(createPrivateKey(privateKey), "pkcs8");
  const names = { altNames: [...dnsNames], ...(commonName !== undefined && { commonName }) };
  // Loaded when first needed: most gateways have no certificate to ask for.
  const { crypto } = await import("acme-client");
  const [, request] = await crypto.createCsr(names, key);
  return request.toString();
}
