/**
 * W3C Trace Context (Level 2): what `traceparent` and `tracestate` say, read strictly, and what is
 * said to the next hop. A value that is not valid is treated as absent (§4.3), never repaired, for
 * two readings of one trace would tear it apart. Pure; nothing here knows of spans.
 */

/** What a valid `traceparent` says. */
export interface TraceParent {
  /** 32 lower-case hexadecimal digits, not all zero. */
  readonly traceId: string;
  /** The caller's span: 16 lower-case hexadecimal digits, not all zero. */
  readonly parentId: string;
  /** Whether the caller may have recorded its span (§3.2.2.5.1). */
  readonly sampled: boolean;
  /** Whether the last seven bytes of the trace id were drawn at random (§3.2.2.5.2). */
  readonly random: boolean;
}

/** Who is sampled; errors and canaries are exported whatever this says. */
export interface Sampler {
  /** Where there is a caller, its decision is kept. */
  readonly parentBased: boolean;
  /** Share of the other traces, 0 to 1. */
  readonly ratio: number;
}

/** Version 00 is exactly this long; a later version may go on after a hyphen (§3.2.4). */
const VERSION_00_LENGTH = 55;
const TRACEPARENT = /^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}/;
const NO_TRACE = "0".repeat(32);
const NO_PARENT = "0".repeat(16);

const SAMPLED = 1;
const RANDOM = 2;

/** What `text` says, or null where it is not a valid `traceparent` (§3.2.2). */
export function parseTraceparent(text: string): TraceParent | null {
  if (!TRACEPARENT.test(text)) return null;
  if (text.length > VERSION_00_LENGTH) {
    const later = text.charCodeAt(0) !== ZERO || text.charCodeAt(1) !== ZERO;
    if (!later || text[VERSION_00_LENGTH] !== "-") return null;
  }
  if (text.startsWith("ff")) return null;
  const traceId = text.slice(3, 35);
  const parentId = text.slice(36, 52);
  if (traceId === NO_TRACE || parentId === NO_PARENT) return null;
  // Bits that are not known are not passed on, for the version that is written has none (§3.2.2.5.3).
  const flags = hexDigit(text.charCodeAt(54));
  return {
    traceId,
    parentId,
    sampled: (flags & SAMPLED) !== 0,
    random: (flags & RANDOM) !== 0,
  };
}

const ZERO = 0x30;

function hexDigit(code: number): number {
  return code < 0x3a ? code - ZERO : code - 0x57;
}

/** The trace flags, as they stand at the end of a `traceparent`. */
export function traceFlags(sampled: boolean, random: boolean): string {
  return `0${(sampled ? SAMPLED : 0) + (random ? RANDOM : 0)}`;
}

/** `list-member`s of at most 512 characters together are always passed on (§3.3.1.5). */
const TRACESTATE_CHARACTERS_MAX = 512;
const TRACESTATE_MEMBERS_MAX = 32;
/** `key "=" value` (§3.3.2.2.2); a value neither is empty nor ends in a space. */
const MEMBER =
  /^[a-z0-9][a-z0-9_\-*/@]{0,255}=[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e]$/;

/** Whether a `tracestate` (several lines joined by commas) may be passed on as it is (§3.3.2). */
export function isTracestate(text: string): boolean {
  if (text.length > TRACESTATE_CHARACTERS_MAX) return false;
  let members = 0;
  for (const part of text.split(",")) {
    const member = part.replace(/^[ \t]+|[ \t]+$/g, "");
    // Empty members are allowed and count for nothing.
    if (member === "") continue;
    members++;
    if (members > TRACESTATE_MEMBERS_MAX || !MEMBER.test(member)) return false;
  }
  return members > 0;
}

/** Of the 56 bits that are random, those that a number holds exactly. */
const RANDOM_BITS = 2 ** 52;

/**
 * Whether a trace belongs to `ratio` of all: decided by the random end of its id, so that every
 * gateway decides alike, and that a higher ratio samples all that a lower one does.
 */
export function isInRatio(traceId: string, ratio: number): boolean {
  if (ratio >= 1) return true;
  if (ratio <= 0) return false;
  return Number.parseInt(traceId.slice(18, 31), 16) >= (1 - ratio) * RANDOM_BITS;
}

/**
 * Whether a request is sampled; `parent` is null where the trace begins here. The id of the trace is
 * asked for only where it decides.
 */
export function isSampled(
  sampler: Sampler,
  trace: { readonly traceId: string },
  parent: TraceParent | null,
): boolean {
  if (parent !== null && sampler.parentBased) return parent.sampled;
  if (sampler.ratio === 0 || sampler.ratio === 1) return sampler.ratio === 1;
  return isInRatio(trace.traceId, sampler.ratio);
}
