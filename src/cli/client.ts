/**
 * A small client of the admin API for the command line: paths from kinds, JSON in and out, errors as
 * the API words them. It follows no redirect and speaks to one server only.
 */
import { request } from "undici";
import type { JsonObject } from "../base/json.ts";
import type { KindDefinition } from "../resource/kind.ts";
import { KINDS } from "../resource/kinds.ts";
import type { Resource, ResourceDraft } from "../resource/resource.ts";
import { CommandError, EXIT } from "./exit.ts";

/** `T` is what the API is known to answer at a path; errors answer a Kubernetes `Status`. */
export interface Answer<T> {
  readonly status: number;
  readonly body: T & { readonly message?: string };
  /** Texts of the HTTP `Warning` headers. */
  readonly warnings: readonly string[];
}

/** A server that says nothing for this long is not there. */
const ANSWER_MS_MAX = 10_000;

export interface SendOptions {
  readonly method?: "GET" | "POST" | "PUT" | "PATCH" | "DELETE";
  readonly body?: unknown;
  readonly contentType?: string;
  readonly accept?: string;
}

/** A kind by what people call it: "rollout", "rollouts", "ro", "Rollout", "rollouts.argoproj.io". */
export function findKind(word: string): KindDefinition {
  const wanted = word.toLowerCase();
  const found = KINDS.find(
    (kind) =>
      [kind.kind.toLowerCase(), kind.plural, kind.singular, ...kind.shortNames].includes(wanted) ||
      `${kind.plural}.${kind.group}` === wanted,
  );
  if (found) return found;
  const known = KINDS.map((kind) => kind.singular).toSorted();
  throw new CommandError(`Unknown kind "${word}". Known: ${known.join(", ")}`, EXIT.usage);
}

/**
 * The API path of a kind's collection, or of one object of it; `namespace` "" means all. Throws
 * CommandError for an empty name: its path would be that of the collection.
 */
export function pathOf(kind: KindDefinition, namespace: string, name?: string): string {
  if (name === "") throw new CommandError(`The name of a ${kind.singular} is empty`, EXIT.usage);
  const root = kind.group === "" ? `/api/${kind.version}` : `/apis/${kind.group}/${kind.version}`;
  const within = kind.namespaced && namespace !== "";
  const scope = within ? `/namespaces/${encodeURIComponent(namespace)}` : "";
  const item = name === undefined ? "" : `/${encodeURIComponent(name)}`;
  return `${root}${scope}/${kind.plural}${item}`;
}

export class Client {
  readonly #server: string;

  /** `server` is a URL such as http://127.0.0.1:9900. */
  constructor(server: string) {
    this.#server = server.replace(/\/$/, "");
  }

  /** Sends one request; answers of 400 and above are returned, a server out of reach throws. */
  async send<T = JsonObject>(path: string, options: SendOptions = {}): Promise<Answer<T>> {
    const { method = "GET", body, contentType = "application/json" } = options;
    const response = await this.#request(path, {
      method,
      headers: {
        accept: options.accept ?? "application/json",
        ...(body === undefined ? {} : { "content-type": contentType }),
      },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    return {
      status: response.statusCode,
      body: await this.#read<Answer<T>["body"]>(response),
      warnings: warningsOf(response.headers["warning"]),
    };
  }

  /** As `send`, but an answer of 400 or above throws with the API's own message. */
  async must<T = JsonObject>(path: string, options: SendOptions = {}): Promise<Answer<T>> {
    const answer = await this.send<T>(path, options);
    if (answer.status >= 400) throw new CommandError(messageOf(answer));
    return answer;
  }

  /** Creates the resource, or replaces it where it is there; what is already as written is left alone. */
  async apply(
    draft: ResourceDraft,
    options: { readonly dryRun: boolean } = { dryRun: false },
  ): Promise<{ readonly verb: string; readonly answer: Answer<Resource> }> {
    const kind = findKind(draft.kind);
    const { namespace, name } = draft.metadata;
    const query = options.dryRun ? "?dryRun=All" : "";
    const item = pathOf(kind, namespace, name);
    const stored = await this.send<Resource>(item);
    if (stored.status === 404) {
      const collection = `${pathOf(kind, namespace)}${query}`;
      const answer = await this.send<Resource>(collection, { method: "POST", body: draft });
      return { verb: "created", answer };
    }
    if (stored.status >= 400) return { verb: "", answer: stored };
    const answer = await this.send<Resource>(item + query, { method: "PUT", body: draft });
    const before = stored.body.metadata.resourceVersion;
    const same = answer.status < 400 && answer.body.metadata.resourceVersion === before;
    return { verb: same ? "unchanged" : "configured", answer };
  }

  /** As `apply`, but a refusal throws with the API's own message. */
  async mustApply(draft: ResourceDraft): Promise<void> {
    const { answer } = await this.apply(draft);
    if (answer.status >= 400) throw new CommandError(messageOf(answer));
  }

  async get(kind: string, namespace: string, name: string): Promise<Resource> {
    return (await this.must<Resource>(pathOf(findKind(kind), namespace, name))).body;
  }

  async list(kind: string, namespace: string, query = ""): Promise<readonly Resource[]> {
    const path = `${pathOf(findKind(kind), namespace)}${query}`;
    return (await this.must<{ items: readonly Resource[] }>(path)).body.items;
  }

  async #request(
    path: string,
    options: Parameters<typeof request>[1],
  ): Promise<Awaited<ReturnType<typeof request>>> {
    const timeouts = { headersTimeout: ANSWER_MS_MAX, bodyTimeout: ANSWER_MS_MAX };
    try {
      return await request(`${this.#server}${path}`, { ...options, ...timeouts });
    } catch (error) {
      throw this.#unreachable(reasonOf(error));
    }
  }

  async #read<T>({ statusCode, body }: Awaited<ReturnType<typeof request>>): Promise<T> {
    const text = await body.text().catch((error: unknown) => {
      throw this.#unreachable(reasonOf(error));
    });
    try {
      return JSON.parse(text) as T;
    } catch {
      throw this.#unreachable(`it answered ${statusCode}, and not as Sluice does`);
    }
  }

  #unreachable(reason: string): CommandError {
    return new CommandError(
      `Cannot reach Sluice at ${this.#server}: ${reason}. Is "sluice up" running? ` +
        "Another address: --server http://HOST:PORT",
      EXIT.unreachable,
    );
  }
}

/** An error for several addresses of a host has no message of its own, only a code. */
function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  return error.message === "" && "code" in error ? String(error.code) : error.message;
}

/** The message of a Kubernetes `Status`. */
export function messageOf(answer: Answer<unknown>): string {
  return answer.body.message ?? `The server answered ${answer.status}`;
}

/** The quoted texts of `Warning: 299 - "text"` headers (RFC 9111's predecessor, as Kubernetes uses it). */
function warningsOf(header: string | string[] | undefined): string[] {
  const joined = Array.isArray(header) ? header.join(", ") : (header ?? "");
  return [...joined.matchAll(/"((?:[^"\\]|\\.)*)"/g)].map((match) =>
    (match[1] as string).replaceAll(/\\(.)/g, "$1"),
  );
}
