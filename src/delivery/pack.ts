/** Packs a generation into messages that no receiver's event loop stalls on. */
import type { PartKey } from "../compile/program.ts";
import { MESSAGE_BYTES_MAX, type PartEnvelope, type ProgramMessage } from "../process/messages.ts";
import type { Content } from "./contents.ts";

/** What goes to one worker for it to have one generation. */
export interface Parcel {
  readonly generation: number;
  readonly contents: readonly Content[];
  readonly removed: readonly PartKey[];
  readonly credentials: readonly (readonly [ref: string, value: string | null])[];
}

/** Leaves room for what cloning adds to the size of the JSON text. */
const PACK_BYTES_MAX = MESSAGE_BYTES_MAX * 0.75;
/** A character takes two bytes where a text goes beyond latin1. */
const PIECE_CHARACTERS = Math.floor(PACK_BYTES_MAX / 2);

/** The messages of a parcel, in order, the commit last. */
export function* pack(parcel: Parcel): Generator<ProgramMessage> {
  const { generation } = parcel;
  const small = parcel.contents.filter((content) => content.bytes <= PACK_BYTES_MAX);
  for (const credentials of groups(parcel.credentials, ([ref, value]) => byteLength(ref, value))) {
    yield { type: "credentials", generation, values: credentials };
  }
  for (const keys of groups(parcel.removed, (key) => byteLength(key))) {
    yield { type: "remove", generation, keys };
  }
  for (const contents of groups(small, (content) => content.bytes)) {
    const parts = contents.map(({ part, hash }): PartEnvelope => ({ part, hash }));
    yield { type: "parts", generation, parts };
  }
  for (const content of parcel.contents) {
    if (content.bytes > PACK_BYTES_MAX) yield* pieces(content, generation);
  }
  yield { type: "commit", generation };
}

function* pieces(content: Content, generation: number): Generator<ProgramMessage> {
  const text = JSON.stringify(content.part);
  for (let at = 0; at < text.length; at += PIECE_CHARACTERS) {
    const last = at + PIECE_CHARACTERS >= text.length;
    const piece = text.slice(at, at + PIECE_CHARACTERS);
    yield { type: "piece", generation, hash: content.hash, text: piece, last };
  }
}

/** `items` in order, cut so that the sizes of each group stay within one message. */
function* groups<T>(items: readonly T[], bytesOf: (item: T) => number): Generator<readonly T[]> {
  let group: T[] = [];
  let bytes = 0;
  for (const item of items) {
    const size = bytesOf(item);
    if (group.length > 0 && bytes + size > PACK_BYTES_MAX) {
      yield group;
      group = [];
      bytes = 0;
    }
    group.push(item);
    bytes += size;
  }
  if (group.length > 0) yield group;
}

function byteLength(...texts: readonly (string | null)[]): number {
  return texts.reduce((sum, text) => sum + Buffer.byteLength(text ?? "") + 16, 0);
}
