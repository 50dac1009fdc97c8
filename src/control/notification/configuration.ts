/**
 * Where notifications go: Argo's ConfigMap `argo-rollouts-notification-configmap`, in the Rollout's
 * own namespace or else in `argo-rollouts`, with `service.webhook.NAME`, and optionally
 * `trigger.NAME` and `template.NAME`. `$key` stands for a value of the Secret beside it. What is
 * not supported is a problem with a name; a problem's text never holds a value of the Secret or of
 * the URL.
 */
import { parse } from "yaml";
import { z } from "zod";
import { authorizationIn, basicAuthorization } from "../../base/basic-auth.ts";
import { userinfoOf } from "../../resource/format.ts";
import type { Resource } from "../../resource/resource.ts";
import type { Trigger } from "./subscription.ts";
import { templateProblem } from "./template.ts";

export const CONFIG_NAME = "argo-rollouts-notification-configmap";
export const SECRET_NAME = "argo-rollouts-notification-secret";
/** Where Argo Rollouts keeps the configuration for all namespaces. */
export const SHARED_NAMESPACE = "argo-rollouts";

/** A webhook as it is to be called: every `$key` is filled in. */
export interface Webhook {
  readonly url: string;
  readonly headers: readonly (readonly [name: string, value: string])[];
  /** Undefined: the announcement itself is posted as JSON. */
  readonly template?: WebhookTemplate;
}

export interface WebhookTemplate {
  readonly method: "POST" | "PUT" | "PATCH";
  readonly path: string;
  readonly body: string;
}

export type Lookup<T> =
  | { readonly ok: true; readonly value: T }
  | { readonly ok: false; readonly problem: string };

export interface ConfigurationSource {
  get(kind: string, namespace: string, name: string): Resource | undefined;
}

const SERVICE_FIELDS = z.strictObject({
  url: z.string().min(1),
  headers: z.array(z.strictObject({ name: z.string().min(1), value: z.string() })).optional(),
  basicAuth: z.strictObject({ username: z.string(), password: z.string() }).optional(),
});

const TEMPLATE_FIELDS = z.strictObject({
  webhook: z.record(
    z.string(),
    z.strictObject({
      method: z.enum(["POST", "PUT", "PATCH"]).default("POST"),
      path: z.string().default(""),
      body: z.string().default(""),
    }),
  ),
});

const TRIGGER_FIELDS = z.array(z.strictObject({ send: z.array(z.string()) }));

/** Headers that frame the message are the HTTP client's. */
const HEADERS_REFUSED = ["connection", "content-length", "host", "transfer-encoding", "upgrade"];
const HEADER_NAME = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;
/** What may stand in a header: anything else could end it. */
const HEADER_VALUE = /^[\t\x20-\x7e\x80-\xff]*$/;

/** The webhook that `service` names for a Rollout in `namespace`, with the trigger's template. */
export function findWebhook(
  source: ConfigurationSource,
  namespace: string,
  wanted: { readonly service: string; readonly trigger: Trigger },
): Lookup<Webhook> {
  const key = `service.webhook.${wanted.service}`;
  for (const place of [namespace, SHARED_NAMESPACE]) {
    const data = dataOf(source.get("ConfigMap", place, CONFIG_NAME));
    const text = data[key];
    if (text === undefined) continue;
    const where = `ConfigMap ${place}/${CONFIG_NAME}`;
    const service = readService(text, `${where}, ${key}`, secretsOf(source, place));
    if (!service.ok) return service;
    const template = findTemplate(data, wanted, where);
    if (!template.ok) return template;
    if (template.value === undefined) return service;
    return { ok: true, value: { ...service.value, template: template.value } };
  }
  return problem(
    `The notification service "${wanted.service}" is not configured: no ConfigMap ` +
      `${CONFIG_NAME} in namespace ${namespace} or ${SHARED_NAMESPACE} has the key ${key}; ` +
      "services of other types than webhook are not supported",
  );
}

function readService(
  text: string,
  where: string,
  secrets: ReadonlyMap<string, string>,
): Lookup<Webhook> {
  const parsed = readYaml(text, SERVICE_FIELDS, where);
  if (!parsed.ok) return parsed;
  const missing = new Set<string>();
  const fill = (value: string): string =>
    value.replaceAll(/\$([-A-Za-z0-9_.]+)/g, (_reference, key: string) => {
      const secret = secrets.get(key);
      if (secret === undefined) missing.add(key);
      return secret ?? "";
    });
  const { url, headers = [], basicAuth } = parsed.value;
  const address = readAddress(url, fill(url));
  const authorization =
    basicAuth === undefined
      ? (address?.authorization ?? "")
      : basicAuthorization(fill(basicAuth.username), fill(basicAuth.password));
  const filled = headers.map(({ name, value }) => [name.toLowerCase(), fill(value)] as const);
  if (missing.size > 0) {
    return problem(`${where}: the Secret ${SECRET_NAME} has no key ${[...missing].join(", ")}`);
  }
  if (address === undefined) return problem(`${where}: url: must be an http or https URL`);
  const webhook = {
    url: address.url,
    headers: authorization === "" ? filled : [...filled, ["authorization", authorization] as const],
  };
  const wrong = address.problem ?? headersProblem(webhook);
  return wrong === undefined ? { ok: true, value: webhook } : problem(`${where}: ${wrong}`);
}

interface Address {
  readonly url: string;
  /** What a user and password in the URL stand for, or "". */
  readonly authorization: string;
  readonly problem?: string;
}

/** A URL whose `$key`s are filled in. Its credentials may come from the Secret, and from nowhere else. */
function readAddress(written: string, filled: string): Address | undefined {
  const url = URL.parse(filled);
  if (url === null || (url.protocol !== "http:" && url.protocol !== "https:")) return undefined;
  const authorization = authorizationIn(url);
  if (authorization === undefined) return undefined;
  url.username = "";
  url.password = "";
  const address = { url: authorization === "" ? filled : url.href, authorization };
  const password = userinfoOf(written).replace(/^[^:]*:/, "");
  if (password === "" || password.includes("$")) return address;
  return { ...address, problem: "url: credentials belong in basicAuth, headers or the Secret" };
}

function headersProblem({ headers }: Pick<Webhook, "headers">): string | undefined {
  for (const [name, value] of headers) {
    if (!HEADER_NAME.test(name) || HEADERS_REFUSED.includes(name)) {
      return `headers: the name "${name}" is not allowed`;
    }
    if (!HEADER_VALUE.test(value))
      return `headers: the value of "${name}" cannot stand in a header`;
  }
  return undefined;
}

/** No trigger of that name in the ConfigMap: no template. */
function findTemplate(
  data: Readonly<Record<string, string>>,
  wanted: { readonly service: string; readonly trigger: Trigger },
  where: string,
): Lookup<WebhookTemplate | undefined> {
  const key = `trigger.${wanted.trigger}`;
  const text = data[key];
  if (text === undefined) return { ok: true, value: undefined };
  const trigger = readYaml(text, TRIGGER_FIELDS, `${where}, ${key}`);
  if (!trigger.ok) return trigger;
  const [name, ...others] = trigger.value.flatMap(({ send }) => send);
  if (name === undefined || others.length > 0) {
    return problem(`${where}, ${key}: exactly one template to send is supported`);
  }
  const templateKey = `template.${name}`;
  const at = `${where}, ${templateKey}`;
  if (data[templateKey] === undefined)
    return problem(`${at}: ${key} sends it, but it is not there`);
  const template = readYaml(data[templateKey], TEMPLATE_FIELDS, at);
  if (!template.ok) return template;
  const webhook = template.value.webhook[wanted.service];
  if (webhook === undefined) return problem(`${at}: has nothing for webhook "${wanted.service}"`);
  const wrong = templateProblem(webhook.path) ?? templateProblem(webhook.body);
  return wrong === undefined ? { ok: true, value: webhook } : problem(`${at}: ${wrong}`);
}

function readYaml<T>(text: string, schema: z.ZodType<T>, where: string): Lookup<T> {
  let value: unknown;
  try {
    value = parse(text, { maxAliasCount: 0 });
  } catch {
    // The parser's own message quotes the text, in which a credential may stand.
    return problem(`${where}: is not YAML`);
  }
  const parsed = schema.safeParse(value);
  if (parsed.success) return { ok: true, value: parsed.data };
  const [issue] = parsed.error.issues;
  const path = issue?.path.join(".") ?? "";
  const keys =
    issue?.code === "unrecognized_keys" ? `${issue.keys.join(", ")} is not supported` : "";
  return problem(
    `${where}: ${path === "" ? "" : `${path}: `}${keys || issue?.message || "is wrong"}`,
  );
}

function secretsOf(source: ConfigurationSource, namespace: string): ReadonlyMap<string, string> {
  const data = dataOf(source.get("Secret", namespace, SECRET_NAME));
  const values = Object.entries(data).map(
    ([key, value]) => [key, Buffer.from(value, "base64").toString("utf8").trim()] as const,
  );
  return new Map(values);
}

function dataOf(resource: Resource | undefined): Readonly<Record<string, string>> {
  return (resource?.["data"] as Readonly<Record<string, string>> | undefined) ?? {};
}

function problem<T>(text: string): Lookup<T> {
  return { ok: false, problem: text };
}
