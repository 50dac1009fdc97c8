/**
 * A small client of the admin API for the command line: paths from kinds, JSON in and out, errors as
 * the API words them. It follows no redirect and speaks to one server only.
 */
import { request } from "undici";
import type { JsonObject } from "../base/json.ts";
import type { KindDefinition } from "../resource/kind.ts";
import { KINDS } from "../resource/kinds.ts";
import type { Resource } from "../resource/resource.ts";
import { CommandError, EXIT } from "./exit.ts";

/** `T` is what the API is known to answer at a path; errors answer a Kubernetes `Status`. */
export interface Answer<T> {
  readonly status: number;
  readonly body: T & { readonly message?: string };
  /** Texts of the HTTP `Warning` headers. */
  readonly warnings: readonly string[];
}

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

/** The API path of a kind's collection, or of one object of it; `namespace` "" means all. */
export function pathOf(kind: KindDefinition, namespace: string, name?: string): string {
  const root = kind.group === "" ? `/api/${kind.version}` : `/apis/${kind.group}/${kind.version}`;
  const scope = kind.namespaced && namespace !== "" ? `/namespaces/${namespace}` : "";
  return `${root}${scope}/${kind.plural}${name === undefined ? "" : `/${name}`}`;
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
      body: (await response.body.json()) as Answer<T>["body"],
      warnings: warningsOf(response.headers["warning"]),
    };
  }

  /** As `send`, but an answer of 400 or above throws with the API's own message. */
  async must<T = JsonObject>(path: string, options: SendOptions = {}): Promise<Answer<T>> {
    const answer = await this.send<T>(path, options);
    if (answer.status >= 400) throw new CommandError(messageOf(answer));
    return answer;
  }

  async get(kind: string, namespace: string, name: string): Promise<Resource> {
    return (await this.must<Resource>(pathOf(findKind(kind), namespace, name))).body;
  }

  async list(kind: string, namespace: string, query = ""): Promise<readonly Resource[]> {
    const path = `${pathOf(findKind(kind), namespace)}${query}`;
    return (await this.must<{ items: readonly Resource[] }>(path)).body.items;
  }

  /** Calls `onEvent` for each event of a watch until the server ends it or `signal` aborts. */
  async watch(path: string, onEvent: () => void, signal: AbortSignal): Promise<void> {
    const response = await this.#request(path, { method: "GET", signal });
    let text = "";
    try {
      for await (const chunk of response.body) {
        text += String(chunk);
        const lines = text.split("\n");
        text = lines.pop() ?? "";
        for (const line of lines) {
          if (line !== "") onEvent();
        }
      }
    } catch (error) {
      if (!signal.aborted) throw error;
    }
  }

  async #request(
    path: string,
    options: Parameters<typeof request>[1],
  ): Promise<Awaited<ReturnType<typeof request>>> {
    try {
      return await request(`${this.#server}${path}`, options);
    } catch (error) {
      if (options?.signal instanceof AbortSignal && options.signal.aborted) throw error;
      const reason = error instanceof Error ? error.message : String(error);
      throw new CommandError(
        `Cannot reach Sluice at ${this.#server}: ${reason}. Is "sluice up" running? ` +
          "Another address: --server http://HOST:PORT",
        EXIT.unreachable,
      );
    }
  }
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
