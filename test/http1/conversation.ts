/** What one client sends on a connection, and what it reads on it. */
export interface Conversation {
  readonly what: string;
  readonly bytes: string;
  /** A status, or what an origin tells back of the request that has reached it: method, target and body. */
  readonly answers: readonly (number | string)[];
}

export const HOST = "Host: a\r\n";
export const NEXT = `GET /next HTTP/1.1\r\n${HOST}\r\n`;
/** A request that no origin may get to see. */
export const SMUGGLED = `GET /smuggled HTTP/1.1\r\n${HOST}\r\n`;
/** What an origin tells back of `get("")`. */
export const ROOT = "GET / ";

/** A GET of "/" with more field lines, and what comes after its head. */
export function get(lines: string, rest = ""): string {
  return `GET / HTTP/1.1\r\n${HOST}${lines}\r\n${rest}`;
}

export function post(lines: string, rest = ""): string {
  return `POST / HTTP/1.1\r\n${HOST}${lines}\r\n${rest}`;
}

/** A POST with chunks. */
export function chunked(body: string, rest = ""): string {
  return post("Transfer-Encoding: chunked\r\n", body + rest);
}

export function quoted(text: string): string {
  return JSON.stringify(text);
}

/** Collects conversations in the order in which they are added. */
export class Conversations {
  readonly all: Conversation[] = [];

  readonly add = (what: string, bytes: string, ...answers: (number | string)[]): void => {
    this.all.push({ what, bytes, answers });
  };
}
