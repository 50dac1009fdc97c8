/** Resources for the tests of the compiler: parsed as a file is, and given what a store gives. */
import assert from "node:assert/strict";
import { jsonEqual } from "../../src/base/json.ts";
import type { KeyPairText } from "../../src/compile/certificates.ts";
import type { CompileInput, ResourceChange } from "../../src/compile/compiled.ts";
import { formatIssue } from "../../src/resource/issue.ts";
import { parseDocuments } from "../../src/resource/parse.ts";
import { keyOf, keyText } from "../../src/resource/resource.ts";
import type { Resource, ResourceDraft } from "../../src/resource/resource.ts";

/** The first resource was created at this second; each further one a second later. */
const FIRST_CREATED_MS = Date.UTC(2026, 0, 1);

/** A set of resources that can be changed, and says what changed as a watch would. */
export class ResourceSet implements CompileInput {
  readonly unavailableSockets = new Map<string, string>();
  readonly failedParts = new Map<string, string>();
  readonly certificateFiles = new Map<string, KeyPairText>();
  readonly #resources = new Map<string, Resource>();
  readonly #lists = new Map<string, readonly Resource[]>();
  /** Of what was removed, too: what comes in its place has its UID, and must not pass for it. */
  readonly #generations = new Map<string, number>();
  #created = 0;

  static parse(text: string): ResourceSet {
    const set = new ResourceSet();
    for (const draft of parseDrafts(text)) set.apply(draft);
    return set;
  }

  get(kind: string, namespace: string, name: string): Resource | undefined {
    return this.#resources.get(keyText({ kind, namespace, name }));
  }

  list(kind: string, namespace?: string): readonly Resource[] {
    let all = this.#lists.get(kind);
    if (all === undefined) {
      all = [...this.#resources.values()]
        .filter((resource) => resource.kind === kind)
        .toSorted((a, b) => (keyText(keyOf(a)) < keyText(keyOf(b)) ? -1 : 1));
      this.#lists.set(kind, all);
    }
    return namespace === undefined
      ? all
      : all.filter((resource) => resource.metadata.namespace === namespace);
  }

  /** Creates or replaces. The generation rises unless only status or metadata are new. */
  apply(draft: ResourceDraft, options: { readonly statusOnly?: boolean } = {}): ResourceChange {
    const key = keyText(keyOf(draft));
    const previous = this.#resources.get(key);
    const created = new Date(FIRST_CREATED_MS + this.#created++ * 1000).toISOString();
    const generation = this.#generations.get(key) ?? 0;
    const same = previous !== undefined && jsonEqual(contentOf(previous), contentOf(draft));
    const next = options.statusOnly === true || same ? generation : generation + 1;
    this.#generations.set(key, next);
    const resource = {
      ...draft,
      metadata: {
        uid: `uid-of-${key}`,
        resourceVersion: String(this.#created),
        creationTimestamp: created.replace(".000Z", "Z"),
        ...previous?.metadata,
        ...draft.metadata,
        generation: next,
      },
    } as Resource;
    this.#resources.set(key, resource);
    this.#lists.delete(resource.kind);
    return { type: previous === undefined ? "ADDED" : "MODIFIED", resource, previous };
  }

  remove(kind: string, namespace: string, name: string): ResourceChange {
    const key = keyText({ kind, namespace, name });
    const resource = this.#resources.get(key);
    assert.ok(resource, `${key} is not there`);
    this.#resources.delete(key);
    this.#lists.delete(kind);
    return { type: "DELETED", resource, previous: resource };
  }
}

function contentOf({ metadata: _metadata, status: _status, ...content }: ResourceDraft) {
  return content;
}

/** Parses documents and fails the test where one is refused. */
export function parseDrafts(text: string): readonly ResourceDraft[] {
  const { documents, issues } = parseDocuments(text);
  assert.deepEqual(issues.map(formatIssue), []);
  return documents.map((document) => document.draft);
}
