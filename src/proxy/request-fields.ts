/**
 * What matching, admission, choice and rewriting read of a request: the shape that the parser's
 * RequestHead has, named here so that those decisions can be tested without a socket. Nothing in
 * here may be kept beyond the request, for a slice pins the whole head.
 */
export interface RequestFields {
  readonly method: string;
  /** Up to the "?", spelled as http1/path.ts says. */
  readonly path: string;
  /** Without the "?"; "" where there is none. */
  readonly query: string;
  /** Lower case, without the port; "" where the client named no host. */
  readonly host: string;
  /** The value of a header by its lower-case name; several values are joined by ", ". */
  header(lowerName: string): string | undefined;
}
