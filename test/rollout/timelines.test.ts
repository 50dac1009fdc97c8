/**
 * Golden timelines: what a rollout does over time, for each sentence of the design. An input says
 * what people do and what traffic is like; the output holds every state and event in order.
 */
import assert from "node:assert/strict";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, it } from "node:test";
import { parse, stringify } from "yaml";
import type { JsonObject } from "../../src/base/json.ts";
import { parseDuration } from "../../src/base/duration.ts";
import type { Resource } from "../../src/resource/resource.ts";
import {
  backendDraft,
  merged,
  NAMESPACE,
  rolloutDraft,
  ROLLOUT,
  RolloutWorld,
  templateDraft,
  type Traffic,
} from "../support/rollout-world.ts";

interface Entry {
  readonly at: string;
  /** The workload's spec is replaced. */
  readonly edit?: JsonObject;
  readonly rollout?: JsonObject;
  readonly second?: JsonObject;
  readonly patch?: JsonObject;
  readonly template?: { readonly count?: number };
  readonly traffic?: Traffic;
  readonly delete?: { readonly kind: string; readonly name: string };
  readonly routed?: boolean;
  readonly killFor?: string;
}

interface Timeline {
  /** The sentence that this is about. */
  readonly about: string;
  readonly entries: readonly Entry[];
  readonly until: string;
}

const FOLDER = join(import.meta.dirname, "../golden/rollout");

describe("golden timelines", () => {
  const names = readdirSync(FOLDER).filter((name) => name.endsWith(".in.yaml"));
  for (const name of names) {
    it(name.replace(".in.yaml", ""), async () => {
      const input = parse(readFileSync(join(FOLDER, name), "utf8")) as Timeline;
      const actual = await play(input);
      const path = join(FOLDER, name.replace(".in.yaml", ".out.yaml"));
      if (process.env["UPDATE"] === "1") writeFileSync(path, stringify(actual, { lineWidth: 0 }));
      assert.deepEqual(actual, parse(readFileSync(path, "utf8")));
    });
  }
});

async function play(input: Timeline): Promise<readonly string[]> {
  const world = new RolloutWorld();
  const told = new Recorder(world);
  world.start();
  for (const entry of input.entries) {
    await world.advance(msOf(entry.at) - world.elapsedMs);
    await told.act(entry);
  }
  await world.advance(msOf(input.until) - world.elapsedMs);
  await world.kill();
  assert.deepEqual(world.problems, []);
  world.store.close();
  return told.lines;
}

/** Writes down what is done and every state and event that follows, at its virtual time. */
class Recorder {
  readonly lines: string[] = [];
  readonly #world: RolloutWorld;
  readonly #last = new Map<string, string>();

  constructor(world: RolloutWorld) {
    this.#world = world;
    world.store.watch(({ type, resource }) => this.#see(type, resource));
  }

  async act(entry: Entry): Promise<void> {
    const { at: _at, ...action } = entry;
    this.#tell(`> ${JSON.stringify(action)}`);
    try {
      await this.#perform(entry);
    } catch (error) {
      this.#tell(`refused: ${(error as Error).message}`);
    }
  }

  async #perform(entry: Entry): Promise<void> {
    const world = this.#world;
    if (entry.traffic !== undefined) world.traffic = entry.traffic;
    if (entry.routed !== undefined) world.routed = entry.routed;
    if (entry.template !== undefined) await world.apply(templateDraft(entry.template.count));
    if (entry.edit !== undefined) await world.apply(backendDraft(entry.edit));
    if (entry.rollout !== undefined) await this.#applyRollout(entry.rollout);
    if (entry.second !== undefined) await world.apply(rolloutDraft(entry.second, "second"));
    if (entry.patch !== undefined) await world.patchRollout(entry.patch);
    if (entry.delete !== undefined) await world.remove(entry.delete.kind, entry.delete.name);
    if (entry.killFor === undefined) return;
    await world.kill();
    await world.advance(msOf(entry.killFor));
    this.#tell("started again");
    world.start();
  }

  async #applyRollout(spec: JsonObject): Promise<void> {
    const draft = rolloutDraft(spec);
    const known = this.#world.store.get("Rollout", NAMESPACE, ROLLOUT);
    const next =
      known === undefined ? draft : merged(known as never, { spec: draft["spec"] as never });
    await this.#world.apply(next as never);
  }

  #see(type: string, resource: Resource): void {
    const { name } = resource.metadata;
    if (resource.kind === "Rollout" && type !== "DELETED") {
      if (this.#world.store.get("Rollout", NAMESPACE, name) === undefined) return;
      this.#tellOnce(name, this.#world.describe(name));
    } else if (resource.kind === "Event" && type !== "DELETED") {
      const { reason, message } = resource as unknown as Record<string, string>;
      this.#tell(`event ${reason}: ${message}`);
    } else if (resource.kind === "Backend" && type === "MODIFIED") {
      this.#tell(`Backend is ${JSON.stringify(resource.spec)}`);
    } else if (type === "DELETED") {
      this.#tell(`deleted ${resource.kind}`);
    }
  }

  #tellOnce(name: string, state: string): void {
    if (this.#last.get(name) === state) return;
    this.#last.set(name, state);
    this.#tell(name === ROLLOUT ? state : `${name}: ${state}`);
  }

  #tell(line: string): void {
    this.lines.push(`${(this.#world.elapsedMs / 1000).toFixed(2).padStart(6)}s ${line}`);
  }
}

function msOf(text: string): number {
  const duration = parseDuration(text);
  assert.ok(duration !== undefined, text);
  return duration;
}
