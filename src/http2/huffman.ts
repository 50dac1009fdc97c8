/**
 * The Huffman code of HPACK (RFC 7541 Appendix B). It is canonical: the lengths of its codes say
 * all of it. Texts are latin1. Decoding is a state machine that takes four bits a step.
 */

/** Bits of the code of each byte, and of EOS. */
const LENGTHS: readonly number[] = [
  13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28,
  28, 28, 28, 28, 28, 28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5,
  6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10, 13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7,
  7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6, 15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6,
  7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28, 20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23,
  23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, 22, 21, 20, 22,
  22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22,
  23, 22, 22, 23, 26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27,
  27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27, 20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25,
  24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26, 30,
];
const EOS = 256;

/** By byte. */
const CODES = new Uint32Array(LENGTHS.length);
const BITS = Uint8Array.from(LENGTHS);

/** A step of the decoder: the next state in the low byte, a decoded byte above it. */
const EMITS = 0x1_0000;
const FAILS = 0x2_0000;
const NEXT = new Int32Array(256 * 16);
/** Whether a text may end in the state: what is left are fewer than eight bits of EOS. */
const ACCEPTS = new Uint8Array(256);
build();

function build(): void {
  const order = LENGTHS.map((_, symbol) => symbol).toSorted(
    (a, b) => (LENGTHS[a] as number) - (LENGTHS[b] as number) || a - b,
  );
  let code = 0;
  let bits = 0;
  for (const symbol of order) {
    const length = LENGTHS[symbol] as number;
    code *= 2 ** (length - bits);
    bits = length;
    CODES[symbol] = code;
    code++;
  }
  buildStates(order);
}

/** States are the inner nodes of the code's tree; a leaf is the negated symbol, less one. */
function buildStates(order: readonly number[]): void {
  const children: number[] = [0, 0];
  for (const symbol of order) {
    let node = 0;
    for (let bit = (LENGTHS[symbol] as number) - 1; bit >= 0; bit--) {
      const at = node * 2 + (((CODES[symbol] as number) >>> bit) & 1);
      if (bit === 0) {
        children[at] = -1 - symbol;
      } else if (children[at] === 0) {
        node = children.length / 2;
        children[at] = node;
        children.push(0, 0);
      } else {
        node = children[at] as number;
      }
    }
  }
  for (let state = 0; state < 256; state++) {
    for (let nibble = 0; nibble < 16; nibble++) {
      let node = state;
      let step = 0;
      for (let bit = 3; bit >= 0; bit--) {
        const child = children[node * 2 + ((nibble >> bit) & 1)] as number;
        node = Math.max(child, 0);
        if (child === -1 - EOS) step = FAILS;
        else if (child < 0) step = EMITS | ((-1 - child) << 8);
      }
      NEXT[state * 16 + nibble] = step === FAILS ? FAILS : step | node;
    }
  }
  let node = 0;
  for (let depth = 0; depth < 8; depth++) {
    ACCEPTS[node] = 1;
    node = children[node * 2 + 1] as number;
  }
}

/**
 * Decodes the bytes from `start` to `end` into `to`, which has room for twice as many; returns how
 * many came of it, or -1 where the text is not a valid one (RFC 7541 §5.2).
 */
export function huffmanDecode(
  bytes: Uint8Array,
  { start, end }: { start: number; end: number },
  to: Uint8Array,
): number {
  let state = 0;
  let length = 0;
  for (let at = start; at < end; at++) {
    const byte = bytes[at] as number;
    const high = NEXT[(state << 4) | (byte >> 4)] as number;
    if (high >= EMITS) {
      if (high >= FAILS) return -1;
      to[length++] = high >> 8;
    }
    const low = NEXT[((high & 0xff) << 4) | (byte & 15)] as number;
    if (low >= EMITS) {
      if (low >= FAILS) return -1;
      to[length++] = low >> 8;
    }
    state = low & 0xff;
  }
  return ACCEPTS[state] === 1 ? length : -1;
}

/** How many bytes the characters of `text` from `start` to `end` take. */
export function huffmanLength(text: string, start: number, end: number): number {
  let bits = 0;
  for (let at = start; at < end; at++) bits += BITS[text.charCodeAt(at) & 0xff] as number;
  return (bits + 7) >> 3;
}

/** Writes the characters of `text` from `start` to `end` to `to`; returns where they end. */
export function huffmanEncode(
  text: string,
  { start, end }: { start: number; end: number },
  { to, at }: { to: Uint8Array; at: number },
): number {
  let next = at;
  // At most 7 bits wait and 30 come: more than bitwise operators hold, so they come in two halves.
  let waiting = 0;
  let count = 0;
  for (let index = start; index < end; index++) {
    const symbol = text.charCodeAt(index) & 0xff;
    const code = CODES[symbol] as number;
    let bits = BITS[symbol] as number;
    if (bits > 16) {
      waiting = (waiting << (bits - 16)) | (code >>> 16);
      count += bits - 16;
      bits = 16;
      while (count >= 8) {
        count -= 8;
        to[next++] = waiting >>> count;
        waiting &= (1 << count) - 1;
      }
    }
    waiting = (waiting << bits) | (bits === 16 ? code & 0xffff : code);
    count += bits;
    while (count >= 8) {
      count -= 8;
      to[next++] = waiting >>> count;
      waiting &= (1 << count) - 1;
    }
  }
  if (count > 0) to[next++] = (waiting << (8 - count)) | (0xff >> count);
  return next;
}
