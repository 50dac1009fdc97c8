/** The first message of a TLS client, as bytes: what tests cut into pieces. */

export interface HelloOptions {
  /** Undefined: no extension for it. */
  readonly serverName?: string;
  /** Bytes of each record's content; all in one where absent. */
  readonly recordBytes?: number;
  /** Added before the others. */
  readonly extension?: Buffer;
  readonly noExtensions?: boolean;
}

export function clientHello(options: HelloOptions): Buffer {
  const ciphers = Buffer.from([0x13, 0x01, 0xc0, 0x2f]);
  const head = [u16(0x0303), Buffer.alloc(32, 7), u8(0), u16(ciphers.length), ciphers];
  const name = options.serverName;
  const extensions = Buffer.concat([
    options.extension ?? Buffer.alloc(0),
    ...(name === undefined ? [] : [serverNameExtension(Buffer.from(name, "latin1"))]),
    Buffer.concat([u16(16), u16(5), u16(3), u8(2), Buffer.from("h2")]),
  ]);
  const tail = options.noExtensions === true ? [] : [u16(extensions.length), extensions];
  const body = Buffer.concat([...head, u8(1), u8(0), ...tail]);
  const message = Buffer.concat([u8(1), Buffer.from([0]), u16(body.length), body]);
  return records(message, options.recordBytes ?? message.length);
}

export function serverNameExtension(name: Buffer): Buffer {
  const entry = Buffer.concat([u8(0), u16(name.length), name]);
  const list = Buffer.concat([u16(entry.length), entry]);
  return Buffer.concat([u16(0), u16(list.length), list]);
}

function records(message: Buffer, size: number): Buffer {
  const pieces: Buffer[] = [];
  for (let at = 0; at < message.length; at += size) {
    const content = message.subarray(at, at + size);
    pieces.push(Buffer.from([0x16, 3, 1]), u16(content.length), content);
  }
  return Buffer.concat(pieces);
}

function u8(value: number): Buffer {
  return Buffer.from([value]);
}

function u16(value: number): Buffer {
  return Buffer.from([value >> 8, value & 0xff]);
}
