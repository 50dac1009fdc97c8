/**
 * Addresses that sockets are bound to: IP addresses, in one spelling each, and paths of Unix sockets
 * behind "unix:"; and which of them overlap.
 */

const IPV4 = /^(?:(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)(?:\.(?!$)|$)){4}$/;

/** The address in its shortest spelling, or undefined where `text` is no IP address. */
export function canonicalAddress(text: string): string | undefined {
  if (IPV4.test(text)) return text;
  if (!text.includes(":") || !/^[0-9a-fA-F:.]+$/.test(text)) return undefined;
  const url = URL.parse(`http://[${text}]`);
  return url === null ? undefined : url.hostname.slice(1, -1);
}

/**
 * Whether a socket on `wide` takes what comes to `narrow`: "::" is every address of both families.
 */
export function addressCovers(wide: string, narrow: string): boolean {
  if (wide === narrow) return true;
  if (unixPath(narrow) !== undefined) return false;
  if (wide === "::") return true;
  return wide === "0.0.0.0" && !narrow.includes(":");
}

/** Whether some connection could be meant for a socket on either address. */
export function addressesOverlap(a: string, b: string): boolean {
  return addressCovers(a, b) || addressCovers(b, a);
}

const UNIX = "unix:";

/** The address of a Unix socket at `path`. */
export function unixAddress(path: string): string {
  return `${UNIX}${path}`;
}

/** The path of a Unix socket; undefined for an IP address. */
export function unixPath(address: string): string | undefined {
  return address.startsWith(UNIX) ? address.slice(UNIX.length) : undefined;
}
