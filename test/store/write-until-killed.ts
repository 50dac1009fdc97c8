/**
 * Writes to the store at the path given, as fast as it acknowledges, and prints each acknowledged
 * write as "NAME COUNT VERSION". Each commit raises one resource's count together with a record of
 * the same name, so that a torn commit would show. Runs until it is killed, as a process or a
 * thread.
 */
import { writeSync } from "node:fs";
import { parentPort } from "node:worker_threads";
import { systemClock } from "../../src/base/clock.ts";
import { openSqliteStore } from "../../src/store/sqlite.ts";

const WRITERS = 4;

const store = openSqliteStore({ path: process.argv[2] as string, clock: systemClock });

async function write(name: string): Promise<never> {
  let count = Number(store.records("file").get(name) ?? 0);
  for (;;) {
    count++;
    const metadata = { name, namespace: "shop" };
    const resource = { apiVersion: "v1", kind: "ConfigMap", metadata, data: { count } };
    const op = store.get("ConfigMap", "shop", name) === undefined ? "create" : "update";
    const [written] = await store.commit([
      { op, resource },
      { op: "record", table: "file", key: name, value: count },
    ]);
    const line = `${name} ${count} ${written?.metadata.resourceVersion}`;
    if (parentPort === null) writeSync(1, `${line}\n`);
    else parentPort.postMessage(line);
  }
}

await Promise.all(Array.from({ length: WRITERS }, (_, index) => write(`writer${index}`)));
