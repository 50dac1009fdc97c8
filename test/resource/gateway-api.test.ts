/**
 * The rules of Gateway API's CRDs for Gateway, HTTPRoute and ReferenceGrant, one by one: what must
 * be refused, at which path, and what must not.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { parseDocuments } from "../../src/resource/parse.ts";

function document(kind: string, spec: string): string {
  return `apiVersion: gateway.networking.k8s.io/v1\nkind: ${kind}\nmetadata: {name: a}\nspec: ${spec}\n`;
}

function gateway(listeners: string, more = ""): string {
  return document("Gateway", `{gatewayClassName: sluice${more}, listeners: [${listeners}]}`);
}

function route(spec: string): string {
  return document("HTTPRoute", `{${spec}}`);
}

function rule(text: string): string {
  return route(`rules: [{${text}}]`);
}

function match(text: string): string {
  return rule(`matches: [{${text}}]`);
}

function filter(text: string): string {
  return rule(`filters: [${text}]`);
}

function backend(text: string): string {
  return rule(`backendRefs: [{${text}}]`);
}

function grant(spec: string): string {
  return document("ReferenceGrant", `{${spec}}`);
}

const REPLACE = "{type: URLRewrite, urlRewrite: {path: {type: ReplacePrefixMatch, VALUE}}}";
const SET = "{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: a, value: b}]}}";
const REDIRECT = "{type: RequestRedirect, requestRedirect: {scheme: https}}";
const REWRITE = "{type: URLRewrite, urlRewrite: {hostname: a.example}}";

function replace(matches: string, value = "replacePrefixMatch: /x"): string {
  return rule(`matches: [${matches}], filters: [${REPLACE.replace("VALUE", value)}]`);
}

/** `text` repeated as the items of a list. */
function times(count: number, text: string): string {
  return Array.from({ length: count }, () => text).join(", ");
}

const REFUSED: readonly [name: string, text: string, path: string][] = [
  ["TLS on HTTP", gateway("{name: a, protocol: HTTP, port: 1, tls: {}}"), "listeners[0].tls"],
  [
    "TLS on http, in whatever case",
    gateway("{name: a, protocol: http, port: 1, tls: {certificateRefs: [{name: a}]}}"),
    "listeners[0].tls",
  ],
  [
    "TLS on TCP",
    gateway("{name: a, protocol: TCP, port: 1, tls: {certificateRefs: [{name: a}]}}"),
    "listeners[0].tls",
  ],
  ["HTTPS without tls", gateway("{name: a, protocol: HTTPS, port: 1}"), "listeners[0].tls"],
  ["TLS without tls", gateway("{name: a, protocol: TLS, port: 1}"), "listeners[0].tls"],
  [
    "HTTPS passed through",
    gateway("{name: a, protocol: HTTPS, port: 1, tls: {mode: Passthrough}}"),
    "listeners[0].tls.mode",
  ],
  [
    "https passed through",
    gateway("{name: a, protocol: https, port: 1, tls: {mode: Passthrough}}"),
    "listeners[0].tls.mode",
  ],
  [
    "no certificate",
    gateway("{name: a, protocol: HTTPS, port: 1, tls: {certificateRefs: []}}"),
    "listeners[0].tls.certificateRefs",
  ],
  [
    "a hostname on UDP",
    gateway("{name: a, protocol: UDP, port: 1, hostname: a.example}"),
    "listeners[0].hostname",
  ],
  [
    "a hostname on tcp",
    gateway("{name: a, protocol: tcp, port: 1, hostname: a.example}"),
    "listeners[0].hostname",
  ],
  [
    "one name twice",
    gateway("{name: a, protocol: HTTP, port: 1}, {name: a, protocol: HTTP, port: 2}"),
    "listeners[1].name",
  ],
  [
    "one endpoint twice",
    gateway("{name: a, protocol: HTTP, port: 1}, {name: b, protocol: HTTP, port: 1}"),
    "listeners[1].port",
  ],
  ["no listener", gateway(""), "listeners"],
  ["port 0", gateway("{name: a, protocol: HTTP, port: 0}"), "listeners[0].port"],
  ["port 65536", gateway("{name: a, protocol: HTTP, port: 65536}"), "listeners[0].port"],
  ["no protocol", gateway("{name: a, protocol: '', port: 1}"), "listeners[0].protocol"],
  ["a name in capitals", gateway("{name: A, protocol: HTTP, port: 1}"), "listeners[0].name"],
  [
    "an address as hostname",
    gateway("{name: a, protocol: HTTP, port: 1, hostname: 10.0.0.1}"),
    "listeners[0].hostname",
  ],
  [
    "a wildcard inside",
    gateway("{name: a, protocol: HTTP, port: 1, hostname: a.*.example}"),
    "listeners[0].hostname",
  ],
  [
    "a bare wildcard",
    gateway("{name: a, protocol: HTTP, port: 1, hostname: '*'}"),
    "listeners[0].hostname",
  ],
  [
    "namespaces from elsewhere",
    gateway("{name: a, protocol: HTTP, port: 1, allowedRoutes: {namespaces: {from: Any}}}"),
    "listeners[0].allowedRoutes.namespaces.from",
  ],
  [
    "an address that is none",
    gateway("{name: a, protocol: HTTP, port: 1}", ", addresses: [{value: 1.1.1}]"),
    "addresses[0].value",
  ],
  [
    "an address twice",
    gateway(
      "{name: a, protocol: HTTP, port: 1}",
      ", addresses: [{value: 1.1.1.1}, {value: 1.1.1.1}]",
    ),
    "addresses[1].value",
  ],
  ["no class", document("Gateway", "{listeners: []}"), "gatewayClassName"],
  ["a relative path", match("path: {value: a}"), "rules[0].matches[0].path.value"],
  ["a double slash", match("path: {value: /a//b}"), "rules[0].matches[0].path.value"],
  ["a dot segment", match("path: {value: /a/./b}"), "rules[0].matches[0].path.value"],
  ["dots at the end", match("path: {value: /a/..}"), "rules[0].matches[0].path.value"],
  ["an encoded slash", match("path: {value: /a%2Fb}"), "rules[0].matches[0].path.value"],
  ["a fragment", match("path: {value: '/a#b'}"), "rules[0].matches[0].path.value"],
  ["a bracket", match("path: {value: '/a[b'}"), "rules[0].matches[0].path.value"],
  ["a query", match("path: {value: '/a?b'}"), "rules[0].matches[0].path.value"],
  ["half an escape", match("path: {value: '/a%2'}"), "rules[0].matches[0].path.value"],
  ["a long path", match(`path: {value: /${"a".repeat(1024)}}`), "rules[0].matches[0].path.value"],
  ["a path type", match("path: {type: Glob, value: /a}"), "rules[0].matches[0].path.type"],
  [
    "no expression",
    match("path: {type: RegularExpression, value: '/(a'}"),
    "rules[0].matches[0].path.value",
  ],
  ["a method in small letters", match("method: get"), "rules[0].matches[0].method"],
  [
    "a header name",
    match("headers: [{name: a b, value: c}]"),
    "rules[0].matches[0].headers[0].name",
  ],
  [
    "no header value",
    match("headers: [{name: a, value: ''}]"),
    "rules[0].matches[0].headers[0].value",
  ],
  [
    "a header twice",
    match("headers: [{name: a, value: b}, {name: a, value: c}]"),
    "rules[0].matches[0].headers[1].name",
  ],
  [
    "a parameter twice",
    match("queryParams: [{name: a, value: b}, {name: a, value: c}]"),
    "rules[0].matches[0].queryParams[1].name",
  ],
  ["an empty filter", filter("{}"), "rules[0].filters[0].type"],
  ["a filter without its field", filter("{type: URLRewrite}"), "rules[0].filters[0].urlRewrite"],
  [
    "a filter with another's field",
    filter("{type: URLRewrite, urlRewrite: {hostname: a}, requestHeaderModifier: {}}"),
    "rules[0].filters[0].requestHeaderModifier",
  ],
  ["a filter twice", filter(`${SET}, ${SET}`), "rules[0].filters[1].type"],
  [
    "a header set and removed, whatever its case",
    filter(SET.replace("]}", "], remove: [A]}")),
    "rules[0].filters[0].requestHeaderModifier.remove[0]",
  ],
  ["no retry", rule("retry: {attempts: 0}"), "rules[0].retry.attempts"],
  ["a code twice", rule("retry: {codes: [500, 503, 500]}"), "rules[0].retry.codes[2]"],
  ["redirect and rewrite", filter(`${REWRITE}, ${REDIRECT}`), "rules[0].filters[1].type"],
  [
    "a header set twice",
    filter(SET.replace("]", ", {name: a, value: c}]")),
    "rules[0].filters[0].requestHeaderModifier.set[1].name",
  ],
  [
    "redirect beside backends",
    rule(`filters: [${REDIRECT}], backendRefs: [{name: a, port: 1}]`),
    "rules[0].backendRefs",
  ],
  [
    "status 304",
    filter("{type: RequestRedirect, requestRedirect: {statusCode: 304}}"),
    "rules[0].filters[0].requestRedirect.statusCode",
  ],
  [
    "a redirect to a wildcard",
    filter("{type: RequestRedirect, requestRedirect: {hostname: '*.example.com'}}"),
    "rules[0].filters[0].requestRedirect.hostname",
  ],
  [
    "replacing one of two prefixes",
    replace("{path: {value: /a}}, {path: {value: /b}}"),
    "rules[0].filters[0].urlRewrite.path.type",
  ],
  [
    "replacing the prefix of an exact path",
    replace("{path: {type: Exact, value: /a}}"),
    "rules[0].filters[0].urlRewrite.path.type",
  ],
  [
    "replacing a prefix by nothing named",
    replace("{}", "replaceFullPath: /a"),
    "rules[0].filters[0].urlRewrite.path.replacePrefixMatch",
  ],
  [
    "replacing one of two prefixes for a backend",
    rule(
      "matches: [{path: {value: /a}}, {path: {value: /b}}], backendRefs: [{name: a, port: 1, " +
        `filters: [${REPLACE.replace("VALUE", "replacePrefixMatch: /x")}]}]`,
    ),
    "rules[0].backendRefs[0].filters[0].urlRewrite.path.type",
  ],
  [
    "a filter twice for a backend",
    backend(`name: a, port: 1, filters: [${SET}, ${SET}]`),
    "rules[0].backendRefs[0].filters[1].type",
  ],
  ["a Service without port", backend("name: a"), "rules[0].backendRefs[0].port"],
  ["a group", backend("name: a, port: 1, group: '*'"), "rules[0].backendRefs[0].group"],
  ["a kind", backend("name: a, port: 1, kind: '*'"), "rules[0].backendRefs[0].kind"],
  ["weight -1", backend("name: a, port: 1, weight: -1"), "rules[0].backendRefs[0].weight"],
  [
    "weight 1000001",
    backend("name: a, port: 1, weight: 1000001"),
    "rules[0].backendRefs[0].weight",
  ],
  ["an address as host", route("hostnames: [10.0.0.1]"), "hostnames[0]"],
  ["a port in a host", route("hostnames: ['a.example:80']"), "hostnames[0]"],
  ["a parent twice", route("parentRefs: [{name: a}, {name: a}]"), "parentRefs[1]"],
  [
    "a parent whole and in part",
    route("parentRefs: [{name: a}, {name: a, sectionName: b}]"),
    "parentRefs[1]",
  ],
  [
    "a section twice",
    route("parentRefs: [{name: a, sectionName: b}, {name: a, sectionName: b}]"),
    "parentRefs[1]",
  ],
  [
    "a section at one port and at every port",
    route("parentRefs: [{name: a, sectionName: b, port: 1}, {name: a, sectionName: b}]"),
    "parentRefs[1]",
  ],
  ["no rule", route("rules: []"), "rules"],
  ["one rule name twice", route("rules: [{name: a}, {name: a}]"), "rules[1].name"],
  ["129 matches", route(`rules: [${times(3, `{matches: [${times(43, "{}")}]}`)}]`), "rules"],
  ["65 matches of a rule", rule(`matches: [${times(65, "{}")}]`), "rules[0].matches"],
  [
    "an attempt longer than the request",
    rule("timeouts: {request: 1s, backendRequest: 2s}"),
    "rules[0].timeouts.backendRequest",
  ],
  ["a broken duration", rule("timeouts: {request: 1.5s}"), "rules[0].timeouts.request"],
  ["a duration below zero", rule("timeouts: {request: -1s}"), "rules[0].timeouts.request"],
  ["a grant to nothing", grant("from: [{group: a, kind: B, namespace: c}]"), "to"],
  ["a grant from nowhere", grant("to: [{group: '', kind: Service}], from: []"), "from"],
  [
    "a grant without namespace",
    grant("from: [{group: a, kind: B}], to: [{group: '', kind: Service}]"),
    "from[0].namespace",
  ],
  [
    "a grant without group",
    grant("from: [{group: a, kind: B, namespace: c}], to: [{kind: Service}]"),
    "to[0].group",
  ],
];

for (const [name, text, path] of REFUSED) {
  test(`refused: ${name}`, () => {
    const paths = parseDocuments(text).issues.map((issue) => issue.path);
    assert.ok(paths.includes(`spec.${path}`), `spec.${path} is not among ${paths.join(", ")}`);
  });
}

const ACCEPTED: readonly [name: string, text: string][] = [
  [
    "two protocols on one port",
    gateway(
      "{name: a, protocol: HTTP, port: 1}, " +
        "{name: b, protocol: HTTPS, port: 1, tls: {certificateRefs: [{name: a}]}}",
    ),
  ],
  [
    "TLS with options alone",
    gateway(
      "{name: a, protocol: TLS, port: 1, tls: {mode: Terminate, options: {sluice.dev/certificate-file: a, sluice.dev/key-file: b}}}",
    ),
  ],
  ["TLS passed through", gateway("{name: a, protocol: TLS, port: 1, tls: {mode: Passthrough}}")],
  ["a protocol of one's own", gateway("{name: a, protocol: example.com/own, port: 1}")],
  ["a replacement without slash", replace("{path: {value: /a}}", "replacePrefixMatch: a")],
  ["a prefix replaced by nothing", replace("{}", "replacePrefixMatch: ''")],
  ["what only an expression may hold", match("path: {type: RegularExpression, value: /a/./b}")],
  ["odd letters in a path", match(`path: {type: Exact, value: "/a'/b-c/d@e.f/%0A"}`)],
  ["parents of two namespaces", route("parentRefs: [{name: a, namespace: b}, {name: a}]")],
  ["two ports of a parent", route("parentRefs: [{name: a, port: 1}, {name: a, port: 2}]")],
  [
    "two sections of a parent",
    route("parentRefs: [{name: a, sectionName: b}, {name: a, sectionName: c}]"),
  ],
  ["no rules", route("")],
  ["no matches", rule("matches: []")],
  ["128 matches", route(`rules: [${times(2, `{matches: [${times(64, "{}")}]}`)}]`)],
  ["a backend of an unknown kind", backend("group: example.com, kind: Own, name: a")],
  ["an attempt as long as it takes", rule("timeouts: {request: 0s, backendRequest: 2s}")],
  ["the same header set and added elsewhere", backend(`name: a, port: 1, filters: [${SET}]`)],
];

for (const [name, text] of ACCEPTED) {
  test(`accepted: ${name}`, () => {
    assert.deepEqual(parseDocuments(text).issues, []);
  });
}
