/** Where the cookies of a rule's sessions are said again (GEP-1619, "Path"). */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { RE2JS } from "re2js";
import { cookiePaths } from "../../src/compile/cookie-path.ts";
import type { MatchEntry } from "../../src/compile/program.ts";

type Path = MatchEntry["path"];

function pathsOf(...paths: readonly Path[]): readonly string[] {
  return cookiePaths(paths.map((path) => ({ path })));
}

const exact = (value: string): Path => ({ type: "Exact", value });
const prefix = (value: string): Path => ({ type: "PathPrefix", value });
const regex = (value: string): Path => ({ type: "RegularExpression", value });

test("a rule's paths, the longest first; all of them where one is", () => {
  assert.deepEqual(pathsOf(prefix("/")), []);
  assert.deepEqual(pathsOf(prefix("/shop"), exact("/shop/cart"), prefix("/a")), [
    "/shop/cart",
    "/shop",
    "/a",
  ]);
  assert.deepEqual(pathsOf(prefix("/shop/"), prefix("/shop")), ["/shop"]);
  assert.deepEqual(pathsOf(exact("/shop/")), ["/shop/"]);
  assert.deepEqual(pathsOf(prefix("/a;b")), [], "a cookie's attribute ends at a semicolon");
});

describe("an expression's longest prefix without one", () => {
  const CASES: readonly [source: string, path: string, fits: readonly string[]][] = [
    ["/p1/p2/*/p3", "/p1/p2", ["/p1/p2/p3", "/p1/p2//p3"]],
    ["/p1/p2/.*", "/p1/p2", ["/p1/p2/", "/p1/p2/foo/p3"]],
    ["/p1/p2/[^/]+/p3", "/p1/p2", ["/p1/p2/foo/p3"]],
    ["/p1/p2", "/p1/p2", ["/p1/p2"]],
    ["^/p1/p2$", "/p1/p2", ["/p1/p2"]],
    ["/p1/p2.*", "/p1", ["/p1/p2", "/p1/p2x"]],
    ["/p1/p2?", "/p1", ["/p1/p", "/p1/p2"]],
    ["/p1/?p2", "/", ["/p1p2", "/p1/p2"]],
    ["/p1/?", "/", ["/p1", "/p1/"]],
    ["/p1/{1,2}p2", "/", ["/p1/p2"]],
    ["/v1\\.2/(a|b)", "/v1.2", ["/v1.2/a"]],
    ["/v\\d/a", "/", ["/v1/a"]],
    ["/a/x|/b/x", "/", ["/a/x", "/b/x"]],
    ["/a/[|]/x", "/a", ["/a/|/x"]],
    ["(?i)/shop/a", "/", ["/SHOP/A"]],
    ["/shop/(?i)a", "/shop", ["/shop/A"]],
    [".*/a", "/", ["/x/a"]],
    ["a/b", "/", []],
    ["", "/", []],
  ];
  for (const [source, path, fits] of CASES) {
    test(`${JSON.stringify(source)}: ${path}`, () => {
      assert.equal(pathsOf(regex(source))[0] ?? "/", path);
      const expression = RE2JS.compile(source);
      for (const one of fits) {
        assert.ok(expression.testExact(one), `${one} fits`);
        assert.ok(path === "/" || one === path || one.startsWith(`${path}/`), `${one} is under it`);
      }
    });
  }
});
