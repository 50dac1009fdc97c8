/**
 * What a client reads as answers, by RFC 9112 §6 and nothing else: written without the gateway's code,
 * and with no patience for a byte that is not of an answer.
 */

export interface Answer {
  readonly status: number;
  /** Names in lower case; a name may come more than once. */
  readonly fields: readonly (readonly [name: string, value: string])[];
  readonly body: string;
  /** The end of the connection is the end of the body. */
  readonly untilClose: boolean;
}

const TOKEN = "[!#$%&'*+\\-.^_`|~0-9A-Za-z]+";
const STATUS_LINE = /^HTTP\/1\.1 ([1-5][0-9]{2}) [\t\x20-\x7e\x80-\xff]*$/;
const FIELD_LINE = new RegExp(`^(${TOKEN}):[ \\t]*([\\t\\x20-\\x7e\\x80-\\xff]*?)[ \\t]*$`);

/**
 * The final answers in all that a client has received, to requests of these methods. Throws where one
 * is not framed in exactly one way, or where anything is left. `partial`: the last one may be broken off.
 */
export function readAnswers(
  text: string,
  methods: readonly string[],
  { partial = false }: { partial?: boolean } = {},
): readonly Answer[] {
  const answers: Answer[] = [];
  let at = 0;
  while (at < text.length) {
    const one = readOne(text, at, methods[answers.length] ?? "GET");
    if (one === null) {
      if (partial) break;
      throw new Error(`Half an answer: ${JSON.stringify(text.slice(at))}`);
    }
    at = one.next;
    if (one.answer.status >= 200) answers.push(one.answer);
  }
  return answers;
}

interface Read {
  readonly answer: Answer;
  readonly next: number;
}

function readOne(text: string, at: number, method: string): Read | null {
  const blank = text.indexOf("\r\n\r\n", at);
  if (blank === -1) return null;
  const [statusLine = "", ...lines] = text.slice(at, blank).split("\r\n");
  const status = Number(STATUS_LINE.exec(statusLine)?.[1] ?? fail("status line", statusLine));
  const fields = lines.map((line) => {
    const [, name, value] = FIELD_LINE.exec(line) ?? fail("field line", line);
    return [name?.toLowerCase() ?? "", value ?? ""] as const;
  });
  const start = blank + 4;
  const valuesOf = (wanted: string): readonly string[] =>
    fields.filter(([name]) => name === wanted).map(([, value]) => value);
  const lengths = valuesOf("content-length");
  const codings = valuesOf("transfer-encoding");
  if (lengths.length + codings.length > 1) fail("framing", lines.join(" | "));
  if (codings.length === 1 && codings[0] !== "chunked") fail("coding", codings.join());
  if (lengths.length === 1 && !/^(?:0|[1-9][0-9]*)$/.test(lengths[0] ?? "")) {
    fail("length", lengths.join());
  }
  const isBare = status < 200 || status === 204;
  if (isBare && lengths.length + codings.length > 0) fail("framing of nothing", String(status));
  if (isBare || status === 304 || method === "HEAD") {
    return { answer: { status, fields, body: "", untilClose: false }, next: start };
  }
  if (codings.length === 1) {
    const chunks = readChunks(text, start);
    return chunks === null
      ? null
      : { answer: { status, fields, body: chunks.body, untilClose: false }, next: chunks.next };
  }
  const untilClose = lengths.length === 0;
  const next = untilClose ? text.length : start + Number(lengths[0]);
  if (next > text.length) return null;
  return { answer: { status, fields, body: text.slice(start, next), untilClose }, next };
}

function readChunks(text: string, start: number): { body: string; next: number } | null {
  let body = "";
  let at = start;
  for (;;) {
    const lineEnd = text.indexOf("\r\n", at);
    if (lineEnd === -1) return null;
    const size = text.slice(at, lineEnd);
    if (!/^[0-9a-f]+$/.test(size)) fail("chunk size", size);
    const length = Number.parseInt(size, 16);
    const end = lineEnd + 2 + length;
    if (text.length < end + 2) return null;
    if (text.slice(end, end + 2) !== "\r\n") fail("end of a chunk", text.slice(end, end + 2));
    body += text.slice(lineEnd + 2, end);
    at = end + 2;
    if (length === 0) return { body, next: at };
  }
}

function fail(what: string, seen: string): never {
  throw new Error(`Not a strict ${what}: ${JSON.stringify(seen)}`);
}
