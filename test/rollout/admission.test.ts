/** The admission rule of rollouts: what lands in one commit with what, and what is refused. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { rolloutRule } from "../../src/admission/rollout-rule.ts";
import { AdmissionError, createWriter } from "../../src/admission/writer.ts";
import type { ResourceDraft } from "../../src/resource/resource.ts";
import {
  HASH_LABEL,
  hashOf,
  numberOf,
  revisionsOf,
  versionOf,
} from "../../src/rollout/revision.ts";
import { openSqliteStore } from "../../src/store/sqlite.ts";
import type { Change } from "../../src/store/store.ts";
import { VirtualClock } from "../support/clock.ts";
import { backendDraft, NAMESPACE, rolloutDraft } from "../support/rollout-world.ts";

const SPEC = { strategy: { canary: { steps: [{ setWeight: 5 }, { pause: {} }] } } };

function bench() {
  const clock = new VirtualClock();
  const store = openSqliteStore({ path: ":memory:", clock });
  const writer = createWriter({ store, clock, rules: [rolloutRule] });
  const create = (...resources: ResourceDraft[]) =>
    writer.write(resources.map((resource): Change => ({ op: "create", resource })));
  const update = (resource: ResourceDraft) => writer.write([{ op: "update", resource }]);
  const remove = (kind: string, name: string) =>
    writer.write([{ op: "delete", key: { kind, namespace: NAMESPACE, name } }]);
  const recorded = (name = "checkout"): readonly string[] => {
    const rollout = store.get("Rollout", NAMESPACE, name);
    const list = store.list("ControllerRevision", NAMESPACE);
    if (rollout === undefined) return list.map(() => "orphan");
    return revisionsOf(rollout, list).map(
      (revision) => `${numberOf(revision)}: ${versionOf(revision)}`,
    );
  };
  return { clock, store, writer, create, update, remove, recorded };
}

describe("a revision is written in the commit that begins it", () => {
  const workload = backendDraft({ version: "1" });
  const rollout = rolloutDraft(SPEC);
  const orders: readonly [string, readonly ResourceDraft[][]][] = [
    ["workload, then Rollout", [[workload], [rollout]]],
    ["Rollout, then workload", [[rollout], [workload]]],
    ["both in one commit", [[workload, rollout]]],
    ["both in one commit, Rollout first", [[rollout, workload]]],
  ];
  for (const [name, commits] of orders) {
    it(name, async () => {
      const { store, create, recorded } = bench();
      for (const resources of commits) await create(...resources);
      assert.deepEqual(recorded(), ["1: 1"]);
      const [revision] = store.list("ControllerRevision");
      const owner = revision?.metadata.ownerReferences?.[0];
      assert.equal(owner?.uid, store.get("Rollout", NAMESPACE, "checkout")?.metadata.uid);
    });
  }

  it("no watcher ever sees an edit without its revision", async () => {
    const { store, create, update } = bench();
    await create(workload, rollout);
    const seen: string[] = [];
    store.watch(({ resource }) => {
      const versions = store.list("ControllerRevision").map((each) => versionOf(each));
      if (resource.kind === "Backend") seen.push(versions.join());
    });
    const { promise, resolve } = Promise.withResolvers<void>();
    store.watch(({ resource }) => resource.kind === "ControllerRevision" && resolve());
    await update(backendDraft({ version: "2" }));
    await promise;
    assert.deepEqual(seen, ["1,2"]);
  });

  it("two edits at once make two revisions, and the later is the newest", async () => {
    const { store, create, update, recorded } = bench();
    await create(workload, rollout);
    await Promise.all([
      update(backendDraft({ version: "2" })),
      update(backendDraft({ version: "3" })),
    ]);
    const live = store.get("Backend", NAMESPACE, "checkout")?.spec?.["version"];
    assert.ok(typeof live === "string");
    assert.equal(recorded().at(-1), `3: ${live}`);
    assert.equal(recorded().length, 3);
  });

  it("a dry run writes nothing", async () => {
    const { create, writer, recorded } = bench();
    await create(workload, rollout);
    const resource = backendDraft({ version: "2" });
    await writer.write([{ op: "update", resource }], { dryRun: true });
    assert.deepEqual(recorded(), ["1: 1"]);
  });

  it("a workload that no Rollout names has none", async () => {
    const { store, create } = bench();
    await create(workload);
    assert.equal(store.list("ControllerRevision").length, 0);
  });
});

describe("what is refused, and what is not", () => {
  it("deleting a Rollout whose workload differs from stable, until it says what to adopt", async () => {
    const { store, create, update, remove, recorded } = bench();
    await create(backendDraft({ version: "1" }), rolloutDraft(SPEC));
    await update(backendDraft({ version: "2" }));
    await assert.rejects(remove("Rollout", "checkout"), (error) => {
      assert.ok(error instanceof AdmissionError);
      assert.match(error.message, /sluice\.dev\/adopt=live .* sluice\.dev\/adopt=stable/);
      return true;
    });
    const rollout = rolloutDraft(SPEC);
    const annotations = { "sluice.dev/adopt": "stable" };
    await update({ ...rollout, metadata: { ...rollout.metadata, annotations } });
    await remove("Rollout", "checkout");
    assert.equal(store.get("Backend", NAMESPACE, "checkout")?.spec?.["version"], "1");
    assert.deepEqual(recorded(), []);
  });

  it("an annotation that is neither live nor stable counts for nothing", async () => {
    const { create, update, remove } = bench();
    await create(backendDraft({ version: "1" }), rolloutDraft(SPEC));
    await update(backendDraft({ version: "2" }));
    const rollout = rolloutDraft(SPEC);
    const annotations = { "sluice.dev/adopt": "yes" };
    await update({ ...rollout, metadata: { ...rollout.metadata, annotations } });
    await assert.rejects(remove("Rollout", "checkout"), AdmissionError);
  });

  it("deleting Rollout and workload together is allowed, the workload first", async () => {
    const { store, create, update, writer, recorded } = bench();
    await create(backendDraft({ version: "1" }), rolloutDraft(SPEC));
    await update(backendDraft({ version: "2" }));
    const key = { namespace: NAMESPACE, name: "checkout" };
    await writer.write([
      { op: "delete", key: { kind: "Backend", ...key } },
      { op: "delete", key: { kind: "Rollout", ...key } },
    ]);
    assert.deepEqual(recorded(), []);
    assert.equal(store.list("Backend").length, 0);
  });

  it("a second Rollout is accepted with a warning, and inherits when the first goes", async () => {
    const { clock, create, remove, recorded } = bench();
    await create(backendDraft({ version: "1" }), rolloutDraft(SPEC));
    clock.advance(5000);
    const { warnings } = await create(rolloutDraft(SPEC, "second"));
    assert.match(warnings.join(), /already belongs to the older Rollout "checkout"/);
    assert.deepEqual(recorded("second"), []);
    await remove("Rollout", "checkout");
    assert.deepEqual(recorded("second"), ["1: 1"]);
  });

  it("the workload of a Rollout cannot be exchanged once revisions are recorded", async () => {
    const { create, update } = bench();
    const other = {
      workloadRef: { apiVersion: "sluice.dev/v1alpha1", kind: "Backend", name: "other" },
    };
    await create(rolloutDraft(SPEC));
    await update(rolloutDraft({ ...SPEC, ...other }));
    await update(rolloutDraft(SPEC));
    await create(backendDraft({ version: "1" }));
    await assert.rejects(update(rolloutDraft({ ...SPEC, ...other })), /create another Rollout/);
    await update(rolloutDraft({ ...SPEC, paused: true }));
  });

  it("people do not write or delete what is served", async () => {
    const { store, create, update, remove } = bench();
    await create(backendDraft({ version: "1" }), rolloutDraft(SPEC));
    await update(backendDraft({ version: "2" }));
    const [first, second] = store.list("ControllerRevision");
    assert.ok(first && second);
    await assert.rejects(update({ ...first, data: { version: "9" } }), AdmissionError);
    await assert.rejects(update({ ...first, revision: 9 }), AdmissionError);
    const renamed = { ...first.metadata, labels: { [HASH_LABEL]: "another" } };
    await assert.rejects(update({ ...first, metadata: renamed }), AdmissionError);
    const labels = { ...first.metadata.labels, team: "shop" };
    await update({ ...first, metadata: { ...first.metadata, resourceVersion: "", labels } });
    const forged = { ...first, metadata: { ...first.metadata, name: "forged" } };
    await assert.rejects(create(forged), AdmissionError);
    for (const { metadata } of [first, second]) {
      await assert.rejects(remove("ControllerRevision", metadata.name), /(stable|canary) revision/);
    }
    await update(backendDraft({ version: "3" }));
    const kept = store.list("ControllerRevision").map((each) => hashOf(each));
    const old = store.list("ControllerRevision").find((each) => numberOf(each) === 2);
    await remove("ControllerRevision", old?.metadata.name ?? "");
    assert.equal(store.list("ControllerRevision").length, kept.length - 1);
  });
});
