/**
 * Counts what passes by in an OpenAI chat completion answer: when its first token came and how many
 * tokens were used. It looks at the bytes on their way and changes none; where they are cut makes no
 * difference. Usage is the provider's own word; a stream that says nothing of it (the client did not
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
  if (contentType.startsWith("text/event-stream")) return new StreamScanner();
  if (contentType.startsWith("application/json")) return new BodyScanner();
  return undefined;
}

interface Chunk {
  readonly usage?: {
    readonly prompt_tokens?: unknown;
    readonly completion_tokens?: unknown;
  } | null;
  readonly choices?: readonly { readonly delta?: Readonly<Record<string, unknown>> }[];
}

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
    const mayHoldUsage = line.includes('"usage":{') || line.includes('"usage": {');
    if (this.firstTokenAtMs !== undefined && !mayHoldUsage) {
      if (line.includes('"delta"')) this.#deltas += 1;
      return;
    }
    const chunk = parseChunk(line.slice("data:".length));
    if (chunk === undefined) return;
    this.#usage = usageOf(chunk) ?? this.#usage;
    if (!(chunk.choices ?? []).some(({ delta }) => holdsToken(delta))) return;
    this.firstTokenAtMs ??= nowMs;
    this.#deltas += 1;
  }
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
    const whole = parseChunk(this.#tail);
    const usage = whole === undefined ? undefined : usageOf(whole);
    return usage ?? this.#usageInTail();
  }

  /** The body was longer than what is kept: the numbers are read where they stand. */
  #usageInTail(): ChatUsage {
    const at = this.#tail.lastIndexOf('"usage"');
    const text = at === -1 ? "" : this.#tail.slice(at);
    const input = /"prompt_tokens"\s*:\s*(\d+)/.exec(text)?.[1];
    const output = /"completion_tokens"\s*:\s*(\d+)/.exec(text)?.[1];
    return {
      inputTokens: Number(input ?? 0),
      outputTokens: Number(output ?? 0),
      reported: output !== undefined,
    };
  }
}

function parseChunk(text: string): Chunk | undefined {
  try {
    const parsed: unknown = JSON.parse(text);
    return typeof parsed === "object" && parsed !== null ? parsed : undefined;
  } catch {
    return undefined;
  }
}

function usageOf({ usage }: Chunk): ChatUsage | undefined {
  if (usage === undefined || usage === null) return undefined;
  const { prompt_tokens: input, completion_tokens: output } = usage;
  return { inputTokens: countOf(input), outputTokens: countOf(output), reported: true };
}

function countOf(value: unknown): number {
  return typeof value === "number" && Number.isFinite(value) && value >= 0 ? value : 0;
}

/** A first delta with the role alone is not a token; text, reasoning and tool calls are. */
function holdsToken(delta: Readonly<Record<string, unknown>> | undefined): boolean {
  if (delta === undefined || delta === null) return false;
  return Object.entries(delta).some(
    ([key, value]) => key !== "role" && value !== null && value !== "" && value !== undefined,
  );
}
