/**
 * What the gateway reads and changes of an OpenAI chat completion request: the model, and whether the
 * answer is streamed. Everything else passes through byte for byte, fields we do not know included.
 */

export type ChatRequest =
  | { readonly ok: true; readonly model: string; readonly stream: boolean }
  | { readonly ok: false; readonly message: string };

/** Reads a request body; the message of a refusal is for the client. */
export function parseChatRequest(body: string): ChatRequest {
  let parsed: unknown;
  try {
    parsed = JSON.parse(body);
  } catch {
    return { ok: false, message: "The body is not valid JSON" };
  }
  if (typeof parsed !== "object" || parsed === null || Array.isArray(parsed)) {
    return { ok: false, message: "The body must be a JSON object" };
  }
  const { model, stream = false } = parsed as { model?: unknown; stream?: unknown };
  if (typeof model !== "string" || model === "") {
    return { ok: false, message: '"model" must name the model to use' };
  }
  if (typeof stream !== "boolean") return { ok: false, message: '"stream" must be true or false' };
  // A provider may read the first of two equal keys where we read the last.
  if (spansOf(body, "model").length !== 1) {
    return { ok: false, message: '"model" must be given once' };
  }
  return { ok: true, model, stream };
}

/** The same body with another model. `body` must have been accepted by `parseChatRequest`. */
export function replaceModel(body: string, model: string): string {
  const span = spansOf(body, "model")[0];
  if (span === undefined) return body;
  return body.slice(0, span.start) + JSON.stringify(model) + body.slice(span.end);
}

interface Span {
  readonly start: number;
  readonly end: number;
}

/** Strings whole, so that braces inside them do not count; then what opens and closes. */
const STRING = /"(?:[^"\\]|\\.)*"/y;
const COLON = /\s*:\s*/y;
const TOKEN = /"(?:[^"\\]|\\.)*"|[{}[\]]/g;

/**
 * Where the values of a top-level key stand in valid JSON text: of a string its whole span, quotes
 * included; of any other value the place where it begins.
 */
function spansOf(json: string, key: string): Span[] {
  const spans: Span[] = [];
  let depth = 0;
  for (const { 0: token, index } of json.matchAll(TOKEN)) {
    if (token === "{" || token === "[") depth += 1;
    else if (token === "}" || token === "]") depth -= 1;
    else if (depth === 1) {
      COLON.lastIndex = index + token.length;
      if (!COLON.test(json) || JSON.parse(token) !== key) continue;
      const start = COLON.lastIndex;
      STRING.lastIndex = start;
      spans.push({ start, end: STRING.test(json) ? STRING.lastIndex : start });
    }
  }
  return spans;
}
