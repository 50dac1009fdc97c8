/**
 * A Dockerfile without Docker: its instructions are read, and its steps are run as they stand, with
 * each stage's file system in a folder of its own. Absolute paths of the image are those below that
 * folder; base images are what is installed here.
 */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { cpSync, existsSync, globSync, mkdirSync, readFileSync, statSync } from "node:fs";
import path from "node:path";

export interface Instruction {
  readonly name: string;
  readonly flags: Readonly<Record<string, string>>;
  /** What follows name and flags. */
  readonly rest: string;
}

export interface Stage {
  readonly base: string;
  readonly name: string;
  readonly instructions: readonly Instruction[];
}

/** The stages of a Dockerfile, in order. */
export function parseDockerfile(text: string): Stage[] {
  const lines = text
    .replaceAll(/^\s*#.*\n/gm, "")
    .replaceAll(/\\\n\s*/g, " ")
    .split("\n")
    .filter((line) => line.trim() !== "");
  const stages: { base: string; name: string; instructions: Instruction[] }[] = [];
  for (const line of lines) {
    const [, name = "", after = ""] = /^([A-Z]+)\s+(.*)$/.exec(line.trim()) ?? [];
    assert.notEqual(name, "", `not an instruction: ${line}`);
    if (name === "FROM") {
      const [base = "", , alias = String(stages.length)] = after.split(/\s+/);
      stages.push({ base, name: alias, instructions: [] });
      continue;
    }
    const flags: Record<string, string> = {};
    let rest = after;
    for (;;) {
      const flag = /^--([a-z-]+)=(\S+)\s+/.exec(rest);
      if (flag === null) break;
      flags[flag[1] as string] = flag[2] as string;
      rest = rest.slice(flag[0].length);
    }
    stages.at(-1)?.instructions.push({ name, flags, rest });
  }
  return stages;
}

/** The arguments of an instruction in JSON form ("exec form"). */
export function argumentsOf(instruction: Instruction): string[] {
  return JSON.parse(instruction.rest.replace(/^CMD\s+/, "")) as string[];
}

/** Whether `.dockerignore` keeps a file out: the last line that fits it decides. */
function isIgnored(file: string, patterns: readonly string[]): boolean {
  let ignored = false;
  for (const line of patterns) {
    const pattern = line.replace(/^!/, "");
    const fits = pattern === "*" || file === pattern || file.startsWith(`${pattern}/`);
    if (fits) ignored = !line.startsWith("!");
  }
  return ignored;
}

export interface BuildOptions {
  /** The folder that is built from. */
  readonly context: string;
  /** Where the stages' folders are made. */
  readonly root: string;
  readonly env: NodeJS.ProcessEnv;
}

/** Runs the steps of all stages; returns the folder of the last one. */
export function buildStages(stages: readonly Stage[], options: BuildOptions): string {
  let last = "";
  for (const stage of stages) last = new StageRun(stage, options).run();
  return last;
}

/** `text` with the image's absolute paths below `root`; paths that exist in no image stay. */
export function inRoot(text: string, root: string): string {
  return text.replaceAll(/(?<=^|[\s"'=])\/(src|pack|app|data|config|etc|var|usr)\b/g, `${root}/$1`);
}

class StageRun {
  readonly #stage: Stage;
  readonly #options: BuildOptions;
  readonly #root: string;
  #workdir: string;

  constructor(stage: Stage, options: BuildOptions) {
    this.#stage = stage;
    this.#options = options;
    this.#root = path.join(options.root, stage.name);
    this.#workdir = this.#root;
    // What the base image has.
    mkdirSync(path.join(this.#root, "usr/local/bin"), { recursive: true });
  }

  run(): string {
    for (const instruction of this.#stage.instructions) this.#step(instruction);
    return this.#root;
  }

  #step({ name, flags, rest }: Instruction): void {
    if (name === "WORKDIR") {
      this.#workdir = path.join(this.#root, rest);
      mkdirSync(this.#workdir, { recursive: true });
    } else if (name === "COPY") {
      this.#copy(flags["from"], rest.split(/\s+/));
    } else if (name === "RUN") {
      this.#shell(rest);
    }
  }

  #copy(from: string | undefined, places: string[]): void {
    const to = places.pop() as string;
    const target = path.join(path.isAbsolute(to) ? this.#root : this.#workdir, to);
    for (const place of places) {
      if (from === undefined) this.#copyFromContext(place, target);
      else this.#copyFrom(path.join(this.#options.root, from, place), target, to.endsWith("/"));
    }
  }

  #copyFrom(source: string, target: string, intoFolder: boolean): void {
    const isFolder = statSync(source).isDirectory();
    // As in Docker, a folder's contents are copied, and a file into a folder.
    const place = isFolder || !intoFolder ? target : path.join(target, path.basename(source));
    cpSync(source, place, { recursive: true, verbatimSymlinks: true });
  }

  #copyFromContext(place: string, target: string): void {
    const { context } = this.#options;
    const patterns = readFileSync(path.join(context, ".dockerignore"), "utf8")
      .split("\n")
      .filter((line) => line !== "" && !line.startsWith("#"));
    const tops = globSync(["*", ".*"], { cwd: context }).filter((top) =>
      patterns.some((line) => line === `!${top}` || line.startsWith(`!${top}/`)),
    );
    const below = tops.flatMap((top) => [top, ...globSync(`${top}/**/*`, { cwd: context })]);
    let copied = 0;
    for (const file of below) {
      const wanted = place === "." || file === place || file.startsWith(`${place}/`);
      if (!wanted || isIgnored(file, patterns)) continue;
      if (statSync(path.join(context, file)).isDirectory()) continue;
      cpSync(path.join(context, file), path.join(target, file));
      copied++;
    }
    assert.ok(copied > 0, `COPY ${place}: nothing of it is in the build's context`);
  }

  #shell(command: string): void {
    const run = spawnSync("sh", ["-ec", inRoot(command, this.#root)], {
      cwd: this.#workdir,
      env: this.#options.env,
      encoding: "utf8",
    });
    assert.equal(run.status, 0, `RUN ${command}\n${run.stdout}${run.stderr}`);
    assert.ok(existsSync(this.#workdir));
  }
}
