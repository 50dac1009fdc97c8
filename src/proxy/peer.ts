/** Texts about the two ends of a connection, made once for each. */

/** An IPv4 peer of a socket that takes both families is written "::ffff:192.0.2.1". */
export function plainAddress(address: string): string {
  return address.startsWith("::ffff:") && address.includes(".") ? address.slice(7) : address;
}

/** Address and port as they stand in a Host header. */
export function authorityOf(address: string, port: number): string {
  const plain = plainAddress(address);
  return `${plain.includes(":") ? `[${plain}]` : plain}:${port}`;
}

/** A string of its own: a slice of a head would keep the whole head alive. */
export function copyOf(text: string): string {
  return Buffer.from(text, "latin1").toString("latin1");
}
