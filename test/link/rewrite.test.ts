/** Rewrites, redirects and header edits, by Gateway API's own tables. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { HeaderEdits, PathEdit, Redirect } from "../../src/compile/program.ts";
import { cookieValue, cookieWithout } from "../../src/proxy/cookie.ts";
import { editPath, linkEdits, redirectLocation, rewriteTarget } from "../../src/proxy/rewrite.ts";
import { request } from "../support/linking.ts";

/**
 * The table in the comment of Gateway API's `HTTPPathModifier.ReplacePrefixMatch`, and some more.
 */
const PREFIXES: readonly (readonly [
  path: string,
  prefix: string,
  value: string,
  result: string,
])[] = [
  ["/foo/bar", "/foo", "/xyz", "/xyz/bar"],
  ["/foo/bar", "/foo", "/xyz/", "/xyz/bar"],
  ["/foo/bar", "/foo/", "/xyz", "/xyz/bar"],
  ["/foo/bar", "/foo/", "/xyz/", "/xyz/bar"],
  ["/foo", "/foo", "/xyz", "/xyz"],
  ["/foo/", "/foo", "/xyz", "/xyz/"],
  ["/foo/bar", "/foo", "", "/bar"],
  ["/foo/", "/foo", "", "/"],
  ["/foo", "/foo", "", "/"],
  ["/foo/", "/foo", "/", "/"],
  ["/foo", "/foo", "/", "/"],
  ["/bar", "/", "/xyz", "/xyz/bar"],
  ["/", "/", "/xyz", "/xyz/"],
  ["/foobar", "/foo", "/xyz", "/foobar"],
  ["/a%40b/c%40d", "/a@b", "/xyz", "/xyz/c%40d"],
  ["/a@b/c", "/a%40b/", "/xyz", "/xyz/c"],
  ["/%C3%A4", "/%c3%a4", "", "/"],
  ["/a%40c/d", "/a@b", "/xyz", "/a%40c/d"],
];

test("ReplacePrefixMatch", () => {
  for (const [path, prefix, value, result] of PREFIXES) {
    const edited = editPath(path, { type: "ReplacePrefixMatch", prefix, value });
    assert.equal(edited, result, `${path} ${prefix} -> ${value}`);
  }
});

test("a target keeps its query, and loses a key that must not go upstream", () => {
  const full: PathEdit = { type: "ReplaceFullPath", value: "/new" };
  const prefix: PathEdit = { type: "ReplacePrefixMatch", prefix: "/new", value: "/newer" };
  const head = request({ target: "/a/b?key=s%20&x=%31&k%65y=t" });
  assert.equal(rewriteTarget(head, [], null), "/a/b?key=s%20&x=%31&k%65y=t");
  assert.equal(rewriteTarget(head, [full], null), "/new?key=s%20&x=%31&k%65y=t");
  assert.equal(rewriteTarget(head, [full, prefix], null), "/newer?key=s%20&x=%31&k%65y=t");
  const auth = {
    auth: { keys: "", extractFrom: [], sanitize: true },
    clientOf: () => undefined,
    stripHeaders: new Set<string>(),
    stripParams: ["key"],
    stripCookies: [],
  };
  assert.equal(rewriteTarget(head, [], auth), "/a/b?x=%31");
  assert.equal(rewriteTarget(request({ target: "/a?key=1" }), [], auth), "/a");
});

const REDIRECTS: readonly (readonly [Partial<Redirect>, number, string, string])[] = [
  [{}, 80, "/a?q=1", "http://example.com/a?q=1"],
  [{}, 8080, "/a", "http://example.com:8080/a"],
  [{ hostname: "other.org" }, 80, "/a", "http://other.org/a"],
  [{ hostname: "other.org" }, 8080, "/a", "http://other.org:8080/a"],
  [{ scheme: "https" }, 80, "/a", "https://example.com/a"],
  [{ scheme: "https" }, 8080, "/a", "https://example.com/a"],
  [{ scheme: "http" }, 8080, "/a", "http://example.com/a"],
  [{ scheme: "https", port: 8443 }, 80, "/a", "https://example.com:8443/a"],
  [{ scheme: "https", port: 443 }, 80, "/a", "https://example.com/a"],
  [{ scheme: "http", port: 443 }, 80, "/a", "http://example.com:443/a"],
  [{ port: 80 }, 8080, "/a", "http://example.com/a"],
  [{ port: 8083 }, 80, "/a", "http://example.com:8083/a"],
  [
    { path: { type: "ReplaceFullPath", value: "/full" } },
    80,
    "/a?q=1",
    "http://example.com/full?q=1",
  ],
  [
    { path: { type: "ReplacePrefixMatch", prefix: "/a", value: "/b" } },
    80,
    "/a/c",
    "http://example.com/b/c",
  ],
];

test("redirects", () => {
  for (const [redirect, port, target, location] of REDIRECTS) {
    const filter: Redirect = { statusCode: 302, ...redirect };
    const found = redirectLocation(filter, request({ target }), { scheme: "http", port });
    assert.equal(found, location, JSON.stringify([redirect, port]));
  }
  const nameless = request({ host: "", target: "/a" });
  assert.equal(redirectLocation({ statusCode: 302 }, nameless, { scheme: "http", port: 1 }), "/a");
});

test("header edits of a rule and then of a backend", () => {
  const rule: HeaderEdits = {
    set: [
      ["X-A", "1"],
      ["X-B", "1"],
    ],
    add: [["X-C", "1"]],
    remove: ["X-D"],
  };
  const backend: HeaderEdits = { set: [["x-a", "2"]], add: [["X-C", "2"]], remove: ["x-b"] };
  const edits = linkEdits(rule, backend);
  assert.deepEqual([...(edits?.drop ?? [])].toSorted(), ["x-a", "x-b", "x-d"]);
  assert.equal(edits?.append, "X-C: 1\r\nx-a: 2\r\nX-C: 2\r\n");
  assert.equal(linkEdits(undefined, {}), null);
  for (const value of ["a\r\nb: c", "\u010d\u010a", "a\0"]) {
    assert.throws(() => linkEdits({ set: [["x", value]] }, undefined), /Cannot write the header/);
  }
  assert.throws(() => linkEdits({ add: [["x y", "1"]] }, undefined), /Cannot write the header/);
});

test("cookies", () => {
  assert.equal(cookieValue(undefined, "a"), undefined);
  assert.equal(cookieValue("a=1; b=2", "b"), "2");
  assert.equal(cookieValue("a=1;b=2", "b"), "2");
  assert.equal(cookieValue("a=1, b=2", "b"), "2");
  assert.equal(cookieValue('a="x y"', "a"), "x y");
  assert.equal(cookieValue("ab=1; a=2; a=3", "a"), "2");
  assert.equal(cookieValue("a", "a"), undefined);
  assert.equal(cookieWithout("a=1; key=s; b=2", ["key"]), "a=1; b=2");
  assert.equal(cookieWithout("key=s", ["key"]), "");
});

test("a client that named no host is never sent to one", () => {
  const head = request({ target: "//evil.example/x", host: "" });
  const origin = { scheme: "http", port: 80 } as const;
  assert.equal(redirectLocation({ statusCode: 302 }, head, origin), "/evil.example/x");
});
