/** Subject alternative names, as node:crypto and node:tls write them: "DNS:a.example, URI:…". */

export interface AltName {
  readonly type: string;
  readonly value: string;
}

const ALT_NAME = /(DNS|URI):("(?:[^"\\]|\\.)*"|[^,]*)/g;

/** DNS names and URIs; odd ones are written as JSON strings (CVE-2021-44532). */
export function altNamesIn(text: string): readonly AltName[] {
  return [...text.matchAll(ALT_NAME)].map(([, type = "", value = ""]) => ({
    type,
    value: value.startsWith('"') ? (JSON.parse(value) as string) : value,
  }));
}
