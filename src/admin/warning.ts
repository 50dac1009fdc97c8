/**
 * HTTP warnings, which kubectl and client libraries show to people: `Warning: 299 - "text"`
 * (RFC 7234 §5.5). Texts name resources that strangers named, so nothing gets into a header that
 * could end it.
 */

/** As the Kubernetes API server: longer texts are cut, and all in all no more than this is sent. */
const TEXT_CHARS_MAX = 256;
const ALL_CHARS_MAX = 4096;

/** The headers for `warnings`: none for none. */
export function warningHeaders(
  warnings: readonly string[],
): Readonly<Record<string, readonly string[]>> {
  const values: string[] = [];
  let chars = 0;
  for (const text of new Set(warnings)) {
    const value = `299 - "${quotable(text)}"`;
    chars += value.length;
    if (chars > ALL_CHARS_MAX) break;
    values.push(value);
  }
  return values.length === 0 ? {} : { warning: values };
}

function quotable(text: string): string {
  const printable = text.replaceAll(/[^\t\x20-\x7e]/g, "?");
  const cut =
    printable.length > TEXT_CHARS_MAX ? `${printable.slice(0, TEXT_CHARS_MAX - 3)}...` : printable;
  return cut.replaceAll(/[\\"]/g, "\\$&");
}
