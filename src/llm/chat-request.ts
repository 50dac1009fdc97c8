/**
 * What the gateway reads and changes of an OpenAI chat completion request: the model, and whether the
 * answer is streamed. Everything else passes through byte for byte, fields we do not know included.
 */
import { type Member, type MembersRead, readMembers } from "./json-members.ts";

export type ChatRequest =
  | {
      readonly ok: true;
      readonly model: string;
      readonly stream: boolean;
      /** Where the model stands in the body, quotes included. */
      readonly modelSpan: readonly [start: number, end: number];
    }
  | { readonly ok: false; readonly message: string };

/** Longer names are no model's, and are not worth being repeated in an answer. */
const MODEL_CHARACTERS_MAX = 256;

const UNREADABLE: Readonly<Record<Exclude<MembersRead, "object">, string>> = {
  invalid: "The body is not valid JSON",
  no_object: "The body must be a JSON object",
  too_deep: "The body is nested too deeply",
};

/**
 * Reads a request body; the message of a refusal is for the client. Neither field may be given twice,
 * in whatever case: a provider may read the first where we read the last, and Go's decoder takes
 * "MODEL" for "model".
 */
export function parseChatRequest(body: string): ChatRequest {
  const models: Member[] = [];
  const streams: Member[] = [];
  const read = readMembers(body, (member) => {
    if (isKey(body, member, MODEL_KEY) && models.length < 2) models.push(member);
    else if (isKey(body, member, STREAM_KEY) && streams.length < 2) streams.push(member);
  });
  if (read !== "object") return refused(UNREADABLE[read]);
  if (models.length > 1) return refused('"model" must be given once');
  if (streams.length > 1) return refused('"stream" must be given once');
  const [model, stream] = [models[0], streams[0]];
  if (model === undefined || nameOf(body, model) !== "model") return refused(NO_MODEL);
  if (body.charCodeAt(model.valueStart) !== QUOTE) return refused(NO_MODEL);
  if (model.valueEnd - model.valueStart > MODEL_CHARACTERS_MAX) {
    return refused(`"model" must not have more than ${MODEL_CHARACTERS_MAX} characters`);
  }
  const name = JSON.parse(body.slice(model.valueStart, model.valueEnd)) as string;
  if (name === "") return refused(NO_MODEL);
  const streamed = stream === undefined ? "null" : streamText(body, stream);
  if (streamed === undefined) return refused('"stream" must be true or false');
  const modelSpan = [model.valueStart, model.valueEnd] as const;
  return { ok: true, model: name, stream: streamed === "true", modelSpan };
}

/** The same body with another model. `request` is what `parseChatRequest` made of the body. */
export function replaceModel(
  body: string,
  request: ChatRequest & { readonly ok: true },
  model: string,
): string {
  const [start, end] = request.modelSpan;
  return body.slice(0, start) + JSON.stringify(model) + body.slice(end);
}

const QUOTE = 0x22;
const NO_MODEL = '"model" must name the model to use';

function refused(message: string): ChatRequest {
  return { ok: false, message };
}

/** OpenAI allows null for what is not asked for. */
function streamText(body: string, member: Member): "true" | "false" | "null" | undefined {
  if (nameOf(body, member) !== "stream") return "null";
  const { valueStart, valueEnd } = member;
  // A value is looked at only where it is as short as one of the three.
  const text = valueEnd - valueStart > 5 ? "" : body.slice(valueStart, valueEnd);
  return text === "true" || text === "false" || text === "null" ? text : undefined;
}

function nameOf(body: string, { keyStart, keyEnd }: Member): unknown {
  return JSON.parse(body.slice(keyStart, keyEnd));
}

const MODEL_KEY = keyPattern("model");
const STREAM_KEY = keyPattern("stream");
/** As every letter takes when it is written as an escape, and two quotes. */
const ESCAPED_LETTER = 6;

/** A key in quotes in any case, its letters plain or escaped. */
function keyPattern(name: string): { readonly pattern: RegExp; readonly lengthMin: number } {
  const letters = name.split("").map((letter) => {
    const code = letter.charCodeAt(0).toString(16);
    return `(?:${letter}|\\\\u00${code}|\\\\u00${(Number.parseInt(code, 16) - 0x20).toString(16)})`;
  });
  return { pattern: new RegExp(`"${letters.join("")}"`, "iy"), lengthMin: name.length + 2 };
}

function isKey(
  body: string,
  { keyStart, keyEnd }: Member,
  { pattern, lengthMin }: ReturnType<typeof keyPattern>,
): boolean {
  const length = keyEnd - keyStart;
  if (length < lengthMin || length > (lengthMin - 2) * ESCAPED_LETTER + 2) return false;
  pattern.lastIndex = keyStart;
  return pattern.test(body);
}
