/**
 * The body of one response on its way through zlib. What one read of the backend brought is handed over
 * together and flushed with it: nobody knows whether more will come, and bytes that lie in a compressor
 * do not reach anybody. While zlib works, in its own thread, what comes is gathered; so a fast backend is
 * flushed every hundred kilobytes, which costs nothing, and a slow one at every piece.
 *
 * Both sides are waited for: a client that takes nothing stops zlib, and zlib that has enough to do stops
 * the backend. A response that is over, however it ended, gives its memory back at once.
 */
import zlib from "node:zlib";
import { resumeUpstream } from "./attempt-time.ts";
import { BodyBuffer } from "./body-buffer.ts";
import type { LinkedEncoding } from "./compress.ts";
import type { Exchange } from "./exchange.ts";

const { constants } = zlib;

/** Bodies that zlib has at the same time in one worker; each takes half to three megabytes. */
const COMPRESSORS_MAX = 256;
/** What waits for zlib beyond this makes the backend wait. */
const GATHERED_BYTES_MAX = 128 * 1024;
/** What waits for the client beyond this makes zlib wait. */
const COMPRESSED_BYTES_MAX = 16 * 1024;
/** Shorter bodies are compressed on the spot: a stream and its way to another thread cost more. */
const SHORT_BYTES_MAX = 16 * 1024;

/**
 * Windows of 64 and 128 KB. Larger ones take megabytes for each response and make the text of the web
 * no smaller.
 */
const BROTLI_WINDOW_BITS = 16;
const ZSTD_WINDOW_BITS = 17;
/** From this level on zstd's tables would not follow its window. */
const ZSTD_LARGE_LEVEL = 5;

/** Levels up to which a short body holds the event loop for less than 4 ms, be it made to do so. */
const QUICK_LEVELS = { gzip: 6, br: 9, zstd: 12 } as const;

/** After so much of it in one turn of the event loop the rest goes to zlib's thread. */
const QUICK_MS_MAX = 4;

type Stream = zlib.Gzip | zlib.BrotliCompress | zlib.ZstdCompress;

function brotliOptions(quality: number): zlib.BrotliOptions {
  return {
    params: {
      [constants.BROTLI_PARAM_QUALITY]: quality,
      [constants.BROTLI_PARAM_LGWIN]: BROTLI_WINDOW_BITS,
    },
  };
}

function zstdOptions(level: number): zlib.ZstdOptions {
  const tables = {
    [constants.ZSTD_c_hashLog]: ZSTD_WINDOW_BITS,
    [constants.ZSTD_c_chainLog]: ZSTD_WINDOW_BITS,
  };
  return {
    params: {
      [constants.ZSTD_c_compressionLevel]: level,
      [constants.ZSTD_c_windowLog]: ZSTD_WINDOW_BITS,
      ...(level >= ZSTD_LARGE_LEVEL && tables),
    },
  };
}

function openStream({ name, level }: LinkedEncoding): Stream {
  const common = { readableHighWaterMark: COMPRESSED_BYTES_MAX };
  if (name === "gzip") {
    return zlib.createGzip({ ...common, level, flush: constants.Z_SYNC_FLUSH });
  }
  if (name === "br") {
    const flush = constants.BROTLI_OPERATION_FLUSH;
    return zlib.createBrotliCompress({ ...common, ...brotliOptions(level), flush });
  }
  const flush = constants.ZSTD_e_flush;
  return zlib.createZstdCompress({ ...common, ...zstdOptions(level), flush });
}

/** Compresses a short body on the spot, at a lower level where its own would take too long. */
export function compressShort(encoding: LinkedEncoding, body: Buffer): Buffer {
  const level = Math.min(encoding.level, QUICK_LEVELS[encoding.name]);
  if (encoding.name === "gzip") return zlib.gzipSync(body, { level });
  if (encoding.name === "br") return zlib.brotliCompressSync(body, brotliOptions(level));
  return zlib.zstdCompressSync(body, zstdOptions(level));
}

/** The compressors of a worker. */
export class Compressors {
  #open = 0;
  /** What bodies that were compressed on the spot have cost in this turn of the event loop. */
  #quickMs = 0;
  readonly #turnEnded = (): void => {
    this.#quickMs = 0;
  };

  /** Whether a body of so many bytes is compressed on the spot. */
  isQuick({ name, level }: LinkedEncoding, bytes: number): boolean {
    if (bytes > SHORT_BYTES_MAX || level > QUICK_LEVELS[name]) return false;
    return this.#quickMs < QUICK_MS_MAX;
  }

  /** Compresses a body for which `isQuick` holds. */
  compressQuickly(encoding: LinkedEncoding, body: Buffer): Buffer {
    const startedMs = performance.now();
    const bytes = compressShort(encoding, body);
    if (this.#quickMs === 0) setImmediate(this.#turnEnded);
    this.#quickMs += performance.now() - startedMs;
    return bytes;
  }

  /** Null where there are too many: the response goes as it is. */
  begin(x: Exchange, encoding: LinkedEncoding): BodyCompressor | null {
    if (this.#open >= COMPRESSORS_MAX) return null;
    this.#open++;
    return new BodyCompressor(x, encoding, () => this.#open--);
  }
}

export class BodyCompressor {
  readonly #exchange: Exchange;
  readonly #encoding: LinkedEncoding;
  readonly #onClosed: () => void;
  readonly #gathered = new BodyBuffer();
  /** Made with the first bytes that are not the last. */
  #stream: Stream | null = null;
  /** Zlib has been given bytes and is not done with them. */
  #busy = false;
  #ended = false;
  #closed = false;
  #trailers = "";

  constructor(exchange: Exchange, encoding: LinkedEncoding, onClosed: () => void) {
    this.#exchange = exchange;
    this.#encoding = encoding;
    this.#onClosed = onClosed;
  }

  /** Takes bytes of the body, which are valid during the call. */
  take(buffer: Buffer, start: number, end: number): void {
    this.#gathered.append(Buffer.from(buffer.subarray(start, end)));
  }

  /** What one read brought has been taken; false where the backend should wait. */
  flush(): boolean {
    // The head goes, if it has not yet. Whether the client takes what comes is asked with each piece.
    this.#exchange.client.flush();
    if (!this.#busy && this.#gathered.length > 0) this.#feed();
    return this.#gathered.length < GATHERED_BYTES_MAX;
  }

  /** The body is complete. The exchange is finished once all of it has been sent. */
  end(trailers: string): void {
    this.#ended = true;
    this.#trailers = trailers;
    const { compressors } = this.#exchange.plane;
    if (this.#stream === null && compressors.isQuick(this.#encoding, this.#gathered.length)) {
      this.#send(compressors.compressQuickly(this.#encoding, this.#gathered.take()));
      this.#complete();
    } else if (!this.#busy) {
      this.#feed();
    }
  }

  /** Whether it is the client that is waited for, and not zlib. */
  get waitsForClient(): boolean {
    return this.#stream?.isPaused() === true;
  }

  /** The client takes the response again. */
  resume(): void {
    this.#stream?.resume();
  }

  /** Nothing more is wanted. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#gathered.take();
    this.#stream?.destroy();
    this.#onClosed();
  }

  #feed(): void {
    const stream = (this.#stream ??= this.#open());
    this.#busy = true;
    const bytes = this.#gathered.take();
    if (this.#ended) stream.end(bytes);
    else stream.write(bytes, () => this.#guard(() => this.#fed()));
  }

  #open(): Stream {
    const stream = openStream(this.#encoding);
    stream.on("data", (bytes: Buffer) => {
      this.#guard(() => {
        this.#send(bytes);
        if (!this.#exchange.client.flush()) stream.pause();
      });
    });
    stream.on("end", () => this.#guard(() => this.#complete()));
    stream.on("error", (error) => {
      this.#guard(() => {
        throw error;
      });
    });
    return stream;
  }

  #fed(): void {
    this.#busy = false;
    if (this.#ended || this.#gathered.length > 0) this.#feed();
    if (this.#exchange.upstream?.paused === true) resumeUpstream(this.#exchange);
  }

  #send(bytes: Buffer): void {
    this.#exchange.bytesOut += bytes.length;
    this.#exchange.client.sendBody(bytes, 0, bytes.length);
  }

  #complete(): void {
    this.#exchange.client.sendEnd(this.#trailers);
    this.#exchange.finish();
  }

  /** Zlib's calls for a response that is over are not heard; a failure costs this response alone. */
  #guard(act: () => void): void {
    if (this.#closed) return;
    try {
      act();
    } catch (error) {
      this.#exchange.plane.onBug(error);
      this.#exchange.client.fail();
    }
  }
}
