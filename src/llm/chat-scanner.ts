/**
 * Counts what passes by in an OpenAI chat completion answer: when its first token came and how many
 * tokens were used. It looks at the bytes on their way and changes none; where they are cut makes no
 * difference, and whatever a provider sends, it never throws. Usage is the provider's own word; a stream that says nothing of it (the client did not
 * ask for `stream_options.include_usage`) is counted by its deltas, which providers send one a token.
 */

export interface ChatUsage {
  readonly inputTokens: number;
  readonly outputTokens: number;
  /** Whether the provider said so; else the output is counted by deltas and the input is unknown (0). */
  readonly reported: boolean;
}

export interface ChatScanner {
  /** Takes the next bytes of the body; `nowMs` is the time they came. */
  push(bytes: Uint8Array, nowMs: number): void;
  /** When the first token came, on the clock of `push`; undefined before it, and without a stream. */
  readonly firstTokenAtMs: number | undefined;
  /** What was used, once the body has ended or broken off. */
  usage(): ChatUsage;
}

/** A line longer than this holds no usage: it is let go instead of kept. */
const LINE_BYTES_MAX = 64 * 1024;
/** Of a whole body its end is kept: `usage` stands behind the choices. */
const TAIL_BYTES_MAX = 16 * 1024;

/** The scanner for a body of this content type; undefined where there is nothing to count. */
export function createChatScanner(contentType: string): ChatScanner | undefined {
  const type = contentType.toLowerCase();
  if (type.startsWith("text/event-stream")) return new StreamScanner();
  if (type.startsWith("application/json")) return new BodyScanner();
  return undefined;
}

/** No answer has more tokens than this: a larger number is not believed. */
const TOKENS_MAX = 1_000_000_000;
const USAGE = /"usage"\s*:\s*\{/;
/** A delta with nothing in it, or with nothing but a role and empty values. */
const EMPTY_DELTA =
  /"delta"\s*:\s*(?:null|\{\s*(?:(?:"role"\s*:\s*"[^"]*"|"\w+"\s*:\s*(?:null|""))\s*(?:,\s*)?)*\})/y;

/** An object as it came, of which nothing is known. */
type Unchecked = Readonly<Record<string, unknown>>;

class StreamScanner implements ChatScanner {
  firstTokenAtMs: number | undefined;
  readonly #decoder = new TextDecoder();
  #line = "";
  #skipping = false;
  #deltas = 0;
  #usage: ChatUsage | undefined;

  push(bytes: Uint8Array, nowMs: number): void {
    const text = this.#decoder.decode(bytes, { stream: true });
    let from = 0;
    for (;;) {
      const end = text.indexOf("\n", from);
      if (end === -1) break;
      if (!this.#skipping) this.#take(this.#line + text.slice(from, end), nowMs);
      this.#line = "";
      this.#skipping = false;
      from = end + 1;
    }
    if (this.#skipping) return;
    this.#line += text.slice(from);
    if (this.#line.length > LINE_BYTES_MAX) {
      this.#line = "";
      this.#skipping = true;
    }
  }

  usage(): ChatUsage {
    return this.#usage ?? { inputTokens: 0, outputTokens: this.#deltas, reported: false };
  }

  /** Most lines are deltas after the first, which need no more than a look at their text. */
  #take(line: string, nowMs: number): void {
    if (!line.startsWith("data:")) return;
    if (this.firstTokenAtMs !== undefined) {
      const at = line.indexOf('"delta"');
      if (at !== -1 && !isEmptyDelta(line, at)) this.#deltas += 1;
      if (!line.includes('"usage"') || !USAGE.test(line)) return;
      this.#usage = usageOf(parseChunk(line.slice("data:".length))) ?? this.#usage;
      return;
    }
    const chunk = parseChunk(line.slice("data:".length));
    this.#usage = usageOf(chunk) ?? this.#usage;
    if (!holdsToken(chunk)) return;
    this.firstTokenAtMs = nowMs;
    this.#deltas += 1;
  }
}

function isEmptyDelta(line: string, at: number): boolean {
  EMPTY_DELTA.lastIndex = at;
  return EMPTY_DELTA.test(line);
}

class BodyScanner implements ChatScanner {
  readonly firstTokenAtMs = undefined;
  readonly #decoder = new TextDecoder();
  #tail = "";

  push(bytes: Uint8Array): void {
    this.#tail = (this.#tail + this.#decoder.decode(bytes, { stream: true })).slice(
      -TAIL_BYTES_MAX,
    );
  }

  usage(): ChatUsage {
    return usageOf(parseChunk(this.#tail)) ?? this.#usageInTail();
  }

  /** The body was longer than what is kept: the numbers are read where they stand. */
  #usageInTail(): ChatUsage {
    const at = this.#tail.lastIndexOf('"usage"');
    const text = at === -1 ? "" : this.#tail.slice(at);
    const input = /"prompt_tokens"\s*:\s*(\d+)/.exec(text)?.[1];
    const output = /"completion_tokens"\s*:\s*(\d+)/.exec(text)?.[1];
    return {
      inputTokens: countOf(Number(input ?? 0)),
      outputTokens: countOf(Number(output ?? 0)),
      reported: output !== undefined,
    };
  }
}

function parseChunk(text: string): Unchecked | undefined {
  try {
    return asObject(JSON.parse(text));
  } catch {
    return undefined;
  }
}

function asObject(value: unknown): Unchecked | undefined {
  return typeof value === "object" && value !== null ? (value as Unchecked) : undefined;
}

function usageOf(chunk: Unchecked | undefined): ChatUsage | undefined {
  const usage = asObject(chunk?.["usage"]);
  if (usage === undefined) return undefined;
  return {
    inputTokens: countOf(usage["prompt_tokens"]),
    outputTokens: countOf(usage["completion_tokens"]),
    reported: true,
  };
}

function countOf(value: unknown): number {
  return typeof value === "number" && value >= 0 && value <= TOKENS_MAX ? value : 0;
}

/** A first delta with the role alone is not a token; text, reasoning and tool calls are. */
function holdsToken(chunk: Unchecked | undefined): boolean {
  const choices = chunk?.["choices"];
  if (!Array.isArray(choices)) return false;
  return choices.some((choice) => {
    const delta = asObject(asObject(choice)?.["delta"]) ?? {};
    return Object.entries(delta).some(
      ([key, value]) => key !== "role" && value !== null && value !== "" && value !== undefined,
    );
  });
}
