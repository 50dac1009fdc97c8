/** Query strings as forms are encoded (WHATWG URL, application/x-www-form-urlencoded). */

/**
 * The first value of each parameter, decoded: Gateway API recommends the first of several
 * (`HTTPQueryParamMatch.name`). Text that is not well encoded stands for itself.
 */
export function parseQuery(query: string): Map<string, string> {
  const values = new Map<string, string>();
  for (const pair of query.split("&")) {
    if (pair === "") continue;
    const name = nameOf(pair);
    if (values.has(name)) continue;
    const equals = pair.indexOf("=");
    values.set(name, equals === -1 ? "" : decodeForm(pair.slice(equals + 1)));
  }
  return values;
}

/** The query without the named parameters; what is kept is kept as it was sent. */
export function withoutParams(query: string, names: readonly string[]): string {
  return query
    .split("&")
    .filter((pair) => !names.includes(nameOf(pair)))
    .join("&");
}

function nameOf(pair: string): string {
  const equals = pair.indexOf("=");
  return decodeForm(equals === -1 ? pair : pair.slice(0, equals));
}

function decodeForm(text: string): string {
  const spaced = text.includes("+") ? text.replaceAll("+", " ") : text;
  if (!spaced.includes("%")) return spaced;
  try {
    return decodeURIComponent(spaced);
  } catch {
    return spaced;
  }
}
