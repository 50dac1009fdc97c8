/** The environment variables and flags of traces: what each means, and what is refused by name. */
import assert from "node:assert/strict";
import { test } from "node:test";
import {
  type Environment,
  sdkEnvironment,
  SettingError,
  type TraceFlags,
  traceSettings,
} from "../../src/trace/settings.ts";

const AT = { OTEL_EXPORTER_OTLP_ENDPOINT: "http://otel:4318" };

const SETTINGS: readonly (readonly [
  name: string,
  env: Environment,
  flags: TraceFlags,
  expected: object | undefined,
])[] = [
  ["nothing", {}, {}, undefined],
  ["an endpoint that is empty", { OTEL_EXPORTER_OTLP_ENDPOINT: " " }, {}, undefined],
  ["a name and no endpoint", { OTEL_SERVICE_NAME: "edge" }, {}, undefined],
  [
    "an endpoint",
    AT,
    {},
    {
      url: "http://otel:4318/v1/traces",
      protocol: "http/protobuf",
      sampler: { parentBased: true, ratio: 1 },
      delayMs: 1000,
    },
  ],
  [
    "an endpoint with a path",
    { OTEL_EXPORTER_OTLP_ENDPOINT: "https://otel/base/" },
    {},
    { url: "https://otel/base/v1/traces" },
  ],
  [
    "the endpoint of traces is taken as it is",
    { ...AT, OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: "http://traces:4318/in" },
    {},
    { url: "http://traces:4318/in" },
  ],
  [
    "the flags win",
    {
      OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: "http://traces:4318/in",
      OTEL_TRACES_SAMPLER: "always_off",
    },
    { otlpEndpoint: "http://here:4318", traceRatio: 0.01 },
    { url: "http://here:4318/v1/traces", sampler: { parentBased: true, ratio: 0.01 } },
  ],
  ["disabled", { ...AT, OTEL_SDK_DISABLED: "TRUE" }, {}, undefined],
  ["not disabled", { ...AT, OTEL_SDK_DISABLED: "false" }, {}, { delayMs: 1000 }],
  ["no exporter", { ...AT, OTEL_TRACES_EXPORTER: "none" }, {}, undefined],
  [
    "a ratio",
    { ...AT, OTEL_TRACES_SAMPLER: "parentbased_traceidratio", OTEL_TRACES_SAMPLER_ARG: "0.25" },
    {},
    { sampler: { parentBased: true, ratio: 0.25 } },
  ],
  [
    "a ratio whatever the caller says; without a number it is 1",
    { ...AT, OTEL_TRACES_SAMPLER: "traceidratio" },
    {},
    { sampler: { parentBased: false, ratio: 1 } },
  ],
  [
    "nobody but who was sampled before",
    { ...AT, OTEL_TRACES_SAMPLER: "parentbased_always_off" },
    {},
    { sampler: { parentBased: true, ratio: 0 } },
  ],
  [
    "the protocol of traces before that of all",
    {
      ...AT,
      OTEL_EXPORTER_OTLP_TRACES_PROTOCOL: "http/json",
      OTEL_EXPORTER_OTLP_PROTOCOL: "http/protobuf",
    },
    {},
    { protocol: "http/json" },
  ],
  ["a delay", { ...AT, OTEL_BSP_SCHEDULE_DELAY: "5000" }, {}, { delayMs: 5000 }],
  [
    "headers and attributes",
    {
      ...AT,
      OTEL_EXPORTER_OTLP_HEADERS: "authorization=Basic%20Zm9vOmJhcg==, x-tenant=1",
      OTEL_RESOURCE_ATTRIBUTES: "service.name=edge,team=a%20b",
      OTEL_PROPAGATORS: "tracecontext,baggage",
    },
    {},
    { delayMs: 1000 },
  ],
];

for (const [name, env, flags, expected] of SETTINGS) {
  test(name, () => {
    const settings = traceSettings(env, flags);
    if (expected === undefined) assert.equal(settings, undefined);
    else assert.deepEqual({ ...settings, ...expected }, settings);
  });
}

const REFUSED: readonly (readonly [env: Environment, flags: TraceFlags, message: RegExp])[] = [
  [{}, { otlpEndpoint: "otel:4318" }, /^--otlp-endpoint: must be a URL such as http:/],
  [{ OTEL_EXPORTER_OTLP_ENDPOINT: "otel" }, {}, /^OTEL_EXPORTER_OTLP_ENDPOINT: must be a URL/],
  [
    { OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: "http://me:secret@otel/" },
    {},
    /^OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: .* without user, password.*OTEL_EXPORTER_OTLP_HEADERS$/,
  ],
  [{}, { otlpEndpoint: "http://otel/?token=secret" }, /^--otlp-endpoint: .* without user/],
  [{}, { traceRatio: 0.5 }, /^--trace-ratio: spans go nowhere; --otlp-endpoint says where to$/],
  [{ ...AT, OTEL_SDK_DISABLED: "yes" }, {}, /^OTEL_SDK_DISABLED is "yes": must be true or false$/],
  [
    { ...AT, OTEL_EXPORTER_OTLP_PROTOCOL: "grpc" },
    {},
    /^OTEL_EXPORTER_OTLP_PROTOCOL is "grpc": must be http\/protobuf or http\/json$/,
  ],
  [
    { ...AT, OTEL_TRACES_SAMPLER: "jaeger_remote" },
    {},
    /^OTEL_TRACES_SAMPLER is "jaeger_remote": must be one of always_on, always_off, /,
  ],
  [{ ...AT, OTEL_TRACES_SAMPLER: "constructor" }, {}, /^OTEL_TRACES_SAMPLER is "constructor"/],
  [
    { ...AT, OTEL_TRACES_SAMPLER: "traceidratio", OTEL_TRACES_SAMPLER_ARG: "1.5" },
    {},
    /^OTEL_TRACES_SAMPLER_ARG is "1.5": must be a number from 0 to 1$/,
  ],
  [
    { ...AT, OTEL_BSP_SCHEDULE_DELAY: "soon" },
    {},
    /^OTEL_BSP_SCHEDULE_DELAY is "soon": must be a number from 0 to 60000$/,
  ],
  [
    { ...AT, OTEL_TRACES_EXPORTER: "zipkin" },
    {},
    /^OTEL_TRACES_EXPORTER is "zipkin": must be otlp or none$/,
  ],
  [
    { ...AT, OTEL_EXPORTER_OTLP_TIMEOUT: "10s" },
    {},
    /^OTEL_EXPORTER_OTLP_TIMEOUT is "10s": must be a number from 1 to 60000$/,
  ],
  [
    { ...AT, OTEL_EXPORTER_OTLP_TRACES_COMPRESSION: "zstd" },
    {},
    /^OTEL_EXPORTER_OTLP_TRACES_COMPRESSION is "zstd": must be none or gzip$/,
  ],
  [{ ...AT, OTEL_PROPAGATORS: "b3" }, {}, /^OTEL_PROPAGATORS has "b3": must be tracecontext/],
  [
    { ...AT, OTEL_RESOURCE_ATTRIBUTES: "a=b=c" },
    {},
    /^OTEL_RESOURCE_ATTRIBUTES: must be KEY=VALUE pairs/,
  ],
];

for (const [env, flags, message] of REFUSED) {
  test(`refused: ${JSON.stringify({ ...env, ...flags })}`, () => {
    assert.throws(
      () => traceSettings(env, flags),
      (error: Error) => {
        assert.ok(error instanceof SettingError);
        assert.match(error.message, message);
        return true;
      },
    );
  });
}

test("headers that cannot be are refused without being quoted", () => {
  for (const headers of ["secret", "authorization=%zz-secret", "a b=secret"]) {
    assert.throws(
      () => traceSettings({ ...AT, OTEL_EXPORTER_OTLP_HEADERS: headers }, {}),
      (error: Error) => {
        assert.match(error.message, /^OTEL_EXPORTER_OTLP_HEADERS: must be KEY=VALUE pairs/);
        assert.doesNotMatch(error.message, /secret/);
        return true;
      },
    );
  }
});

test("the service is called sluice unless it is called otherwise", () => {
  const settings = traceSettings(AT, {});
  assert.ok(settings);
  const attributes = (text: string): string | undefined =>
    sdkEnvironment(settings, { OTEL_RESOURCE_ATTRIBUTES: text }, "1.2")["OTEL_RESOURCE_ATTRIBUTES"];
  assert.equal(attributes(""), "service.name=sluice,service.version=1.2");
  assert.equal(attributes("team=a"), "service.name=sluice,service.version=1.2,team=a");
  assert.equal(attributes("a=b, service.name=edge"), "service.version=1.2,a=b, service.name=edge");
});
