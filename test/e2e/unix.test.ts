/**
 * A real Sluice on Unix sockets: a Gateway's address, which comes, goes and is found taken; a kill -9,
 * after which the path is bound again; and `sluice proxy --listen unix:/…`.
 */
import assert from "node:assert/strict";
import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, before, describe, test } from "node:test";
import { promisify } from "node:util";
import type { ResourceDraft } from "../../src/resource/resource.ts";
import { lacks } from "../support/programs.ts";
import * as shop from "../support/shop.ts";
import { eventually, freePort, Sluice } from "../support/sluice.ts";
import { origin, type Origin } from "../support/upstream.ts";

const run = promisify(execFile);
const MAIN = path.resolve(import.meta.dirname, "../../src/cli/main.ts");

describe("Unix sockets", { skip: lacks("curl") }, () => {
  let app: Origin;
  let folder: string;
  let file: string;

  before(async () => {
    app = await origin();
    folder = mkdtempSync(path.join(tmpdir(), "sluice-unix-"));
    file = path.join(folder, "edge.sock");
  });

  after(async () => {
    await app[Symbol.asyncDispose]();
    rmSync(folder, { recursive: true, force: true });
  });

  async function ask(): Promise<string> {
    return (await run("curl", ["-sS", "--unix-socket", file, "http://shop/"])).stdout;
  }

  function onPath(port = 80): ResourceDraft {
    const gateway = shop.gateway(port) as ResourceDraft & { spec: object };
    const addresses = [{ type: "sluice.dev/UnixSocket", value: file }];
    return { ...gateway, spec: { ...gateway.spec, addresses } };
  }

  async function programmed(sluice: Sluice): Promise<string> {
    const { status } = await sluice.get("gateway", "edge");
    const conditions = (status?.["conditions"] ?? []) as { type: string; message: string }[];
    return conditions.find(({ type }) => type === "Programmed")?.message ?? "";
  }

  test("a Gateway's address: taken, free, another port, gone; and after kill -9", async () => {
    const other = createServer((socket) => socket.destroy()).listen(file);
    await once(other, "listening");
    const dataDirectory = path.join(folder, "data");
    const first = await Sluice.start({ workers: 2, dataDirectory });
    await first.apply(onPath(), shop.route(), shop.backend("1", app.port));
    await eventually("it says that the path is taken", async () => {
      return (await programmed(first)) === `Unix socket ${file} is in use by another program`;
    });
    other.close();
    await eventually("it serves once the path is free", async () => (await ask()) === "ok");
    await first.apply(onPath(81));
    await eventually("backends hear of the other port", async () => {
      await ask();
      return app.requests.at(-1)?.headers["x-forwarded-port"] === "81";
    });
    first.child.kill("SIGKILL");
    await once(first.child, "exit");
    assert.equal(existsSync(file), true);
    await using second = await Sluice.start({ workers: 2, dataDirectory });
    await eventually("it serves again", async () => (await ask()) === "ok");
    // The socket is one worker's; the other one does not try to have it, too.
    assert.doesNotMatch(second.output, /Cannot listen|in use/);
    const { spec } = shop.gateway(await freePort()) as { spec?: object };
    await second.apply({ ...onPath(), ...(spec !== undefined && { spec }) });
    await eventually("the path is gone with the address", () => !existsSync(file) || undefined);
  });

  test("sluice proxy --listen unix:/…", async () => {
    const to = `http://127.0.0.1:${app.port}`;
    const admin = `127.0.0.1:${await freePort()}`;
    const args = [MAIN, "proxy", "--to", to, "--listen", `unix:${file}`, "--admin", admin];
    const child = spawn(process.execPath, args, { stdio: "ignore" });
    await eventually("it serves", async () => (await ask()) === "ok");
    child.kill("SIGINT");
    await once(child, "exit");
    assert.equal(existsSync(file), false);
    const wrong = run(process.execPath, [MAIN, "proxy", "--to", to, "--listen", "unix:edge.sock"]);
    await assert.rejects(wrong, /--listen unix:edge\.sock: must be an absolute path/);
  });
});
