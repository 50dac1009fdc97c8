/** The version in package.json, which stands two folders up in the checkout and in the package. */
import { readFileSync } from "node:fs";

function readVersion(): string {
  const manifest: unknown = JSON.parse(
    readFileSync(new URL("../../package.json", import.meta.url), "utf8"),
  );
  return (manifest as { readonly version: string }).version;
}

export const VERSION = readVersion();
