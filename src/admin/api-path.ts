/**
 * The URLs of the Kubernetes API: `/api/v1/…` for the core group, `/apis/GROUP/VERSION/…` for the
 * others, then optionally `namespaces/NAMESPACE`, the plural of a kind, a name and a subresource.
 */

/** What a URL names. Whether there is such a kind is the caller's to find out. */
export interface ResourcePath {
  /** Empty for the core group. */
  readonly group: string;
  readonly version: string;
  /** Undefined for cluster-scoped kinds and for lists over all namespaces. */
  readonly namespace: string | undefined;
  readonly plural: string;
  readonly name: string | undefined;
  readonly subresource: string | undefined;
}

/** The decoded segments of a path, or undefined where it is not well formed. */
export function pathSegments(pathname: string): readonly string[] | undefined {
  const segments = pathname.split("/").slice(1);
  if (segments.at(-1) === "") segments.pop();
  try {
    const decoded = segments.map((segment) => decodeURIComponent(segment));
    return decoded.every(isSegment) ? decoded : undefined;
  } catch {
    return undefined;
  }
}

/** Reads the segments of a resource's URL; undefined where they do not name one. */
export function parseResourcePath(segments: readonly string[]): ResourcePath | undefined {
  const [root, ...rest] = segments;
  if (root === "api") {
    const [version, ...scoped] = rest;
    return version === undefined ? undefined : parseScoped({ group: "", version }, scoped);
  }
  const [group, version, ...scoped] = rest;
  if (root !== "apis" || group === undefined || version === undefined) return undefined;
  return parseScoped({ group, version }, scoped);
}

interface GroupVersion {
  readonly group: string;
  readonly version: string;
}

function parseScoped(
  groupVersion: GroupVersion,
  segments: readonly string[],
): ResourcePath | undefined {
  const [first, second, third] = segments;
  // `/namespaces/shop/status` is a Namespace's status, `/namespaces/shop/secrets` a list in it.
  const inNamespace =
    first === "namespaces" && third !== undefined && third !== "status" && third !== "finalize";
  if (inNamespace) return parseNamed(groupVersion, second, segments.slice(2));
  return parseNamed(groupVersion, undefined, segments);
}

function parseNamed(
  groupVersion: GroupVersion,
  namespace: string | undefined,
  segments: readonly string[],
): ResourcePath | undefined {
  const [plural, name, subresource, ...more] = segments;
  if (plural === undefined || more.length > 0) return undefined;
  return { ...groupVersion, namespace, plural, name, subresource };
}

/** Kubernetes forbids these in names, because a path would not survive cleaning with them. */
function isSegment(segment: string): boolean {
  return segment !== "" && segment !== "." && segment !== ".." && !segment.includes("/");
}
