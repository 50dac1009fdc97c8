/** Basic authentication (RFC 7617), as a header and as a URL has it. */

export function basicAuthorization(username: string, password: string): string {
  return `Basic ${Buffer.from(`${username}:${password}`).toString("base64")}`;
}

/**
 * The Authorization that user and password of a URL stand for, "" where there are none; undefined
 * where a percent sign in them encodes nothing, which a URL may hold.
 */
export function authorizationIn({ username, password }: URL): string | undefined {
  if (username === "" && password === "") return "";
  try {
    return basicAuthorization(decodeURIComponent(username), decodeURIComponent(password));
  } catch {
    return undefined;
  }
}
