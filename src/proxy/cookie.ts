/** Reading and removing single cookies of a Cookie header (RFC 6265 section 4.2.1). */

/** The value of the first cookie of that name; quotes around it are taken off. */
export function cookieValue(cookies: string | undefined, name: string): string | undefined {
  if (cookies === undefined) return undefined;
  for (const pair of splitCookies(cookies)) {
    const equals = pair.indexOf("=");
    if (equals === -1 || pair.slice(0, equals).trim() !== name) continue;
    const value = pair.slice(equals + 1).trim();
    return value.length > 1 && value.startsWith('"') && value.endsWith('"')
      ? value.slice(1, -1)
      : value;
  }
  return undefined;
}

/** The Cookie header without the named cookies; "" if none is left. */
export function cookieWithout(cookies: string, names: readonly string[]): string {
  const kept = splitCookies(cookies).filter((pair) => {
    const equals = pair.indexOf("=");
    return equals === -1 || !names.includes(pair.slice(0, equals).trim());
  });
  return kept.map((pair) => pair.trim()).join("; ");
}

/** Several Cookie lines arrive joined by ", ", which no cookie's name begins with. */
function splitCookies(cookies: string): string[] {
  return cookies.split(/; ?|, /);
}
