/**
 * Certificates that HTTPS listeners take from files. The files are looked at every second, by what
 * stat says of them, so that a rotation by any tool — a rename, a symbolic link that is moved — is
 * seen. A pair that does not fit together, as while one of the two files is still the old one, leaves
 * the pair before it in service, and is told only if it stays so.
 */
import { readFileSync, statSync } from "node:fs";
import type { Cancel, Clock } from "../base/clock.ts";
import {
  certificateFileOf,
  checkKeyPair,
  filePairKey,
  type KeyPairText,
} from "../compile/certificates.ts";
import type { Gateway } from "../resource/gateway.ts";

const LOOK_MS = 1000;
/** A chain of certificates has some ten kilobytes; a file that is larger is none. */
const FILE_BYTES_MAX = 1024 * 1024;

interface FilePair {
  readonly certificate: string;
  readonly key: string;
}

interface Known {
  readonly files: FilePair;
  /** What stat said of both files when they were read. */
  stamp: string;
  text: KeyPairText;
  /** Set while what the files hold is not served: it is told when the next look finds it again. */
  doubtful: boolean;
}

export interface CertificateFilesOptions {
  readonly clock: Clock;
  /** Called after what `of` returned has become something else. */
  readonly onChange: () => void;
}

/** The pairs of files that Gateways name, read now: for who looks once. */
export function readCertificateFiles(
  gateways: Iterable<Gateway>,
): ReadonlyMap<string, KeyPairText> {
  return new Map([...filesOf(gateways)].map(([key, files]) => [key, readPair(files)]));
}

export class CertificateFiles {
  readonly #options: CertificateFilesOptions;
  readonly #known = new Map<string, Known>();
  #cancel: Cancel | undefined;

  constructor(options: CertificateFilesOptions) {
    this.#options = options;
  }

  /** What the files that Gateways name hold now; others are forgotten. */
  of(gateways: Iterable<Gateway>): ReadonlyMap<string, KeyPairText> {
    const wanted = filesOf(gateways);
    for (const key of this.#known.keys()) if (!wanted.has(key)) this.#known.delete(key);
    for (const [key, files] of wanted) {
      if (this.#known.has(key)) continue;
      const stamp = stampOf(files);
      this.#known.set(key, { files, stamp, text: readPair(files), doubtful: false });
    }
    this.#lookLater();
    return new Map([...this.#known].map(([key, { text }]) => [key, text]));
  }

  close(): void {
    this.#cancel?.();
    this.#cancel = undefined;
    this.#known.clear();
  }

  #lookLater(): void {
    if (this.#cancel !== undefined || this.#known.size === 0) return;
    this.#cancel = this.#options.clock.after(LOOK_MS, () => {
      this.#cancel = undefined;
      this.#look();
      this.#lookLater();
    });
  }

  #look(): void {
    let changed = false;
    for (const known of this.#known.values()) {
      const stamp = stampOf(known.files);
      if (stamp === known.stamp && !known.doubtful) continue;
      known.stamp = stamp;
      const text = readPair(known.files);
      const next = nextText(known, text);
      known.doubtful = "problem" in text && next === known.text;
      changed ||= !sameText(next, known.text);
      known.text = next;
    }
    if (changed) this.#options.onChange();
  }
}

/** What is served after files were read again. */
function nextText({ text: before, doubtful }: Known, read: KeyPairText): KeyPairText {
  if ("certificate" in read) return read;
  if (!("certificate" in before)) return read;
  if (!doubtful) return before;
  const { certificate, privateKey } = before;
  return { certificate, privateKey, problem: `${read.problem}; the one before is served` };
}

function sameText(a: KeyPairText, b: KeyPairText): boolean {
  if (a.problem !== b.problem) return false;
  if (!("certificate" in a) || !("certificate" in b))
    return "certificate" in a === "certificate" in b;
  return a.certificate === b.certificate && a.privateKey === b.privateKey;
}

function filesOf(gateways: Iterable<Gateway>): ReadonlyMap<string, FilePair> {
  const found = new Map<string, FilePair>();
  for (const gateway of gateways) {
    for (const listener of gateway.spec.listeners) {
      const files = certificateFileOf(listener);
      if (files !== undefined) found.set(filePairKey(files), files);
    }
  }
  return found;
}

function readPair({ certificate, key }: FilePair): KeyPairText {
  const chain = readText(certificate);
  if (typeof chain !== "string") return chain;
  const privateKey = readText(key);
  if (typeof privateKey !== "string") return privateKey;
  const places = { certificate: "", key: `in ${key}` };
  const checked = checkKeyPair(chain, privateKey, places);
  if (checked.problem === undefined) return checked;
  return { problem: `${certificate} ${checked.problem.replace(/ +/g, " ").trim()}` };
}

const READ_ERRORS: Readonly<Record<string, string>> = {
  ENOENT: "there is no such file",
  EACCES: "this process may not read it",
  EISDIR: "it is a folder",
};

function readText(file: string): string | { readonly problem: string } {
  try {
    const stat = statSync(file);
    // A pipe or a device may have no end, and whoever reads it waits.
    if (!stat.isFile() && !stat.isDirectory()) {
      return { problem: `${file} cannot be a certificate: it is no regular file` };
    }
    if (stat.size > FILE_BYTES_MAX) {
      return { problem: `${file} cannot be a certificate: it is larger than 1 MiB` };
    }
    return readFileSync(file, "latin1");
  } catch (error) {
    const { code = "" } = error as NodeJS.ErrnoException;
    return { problem: `${file} cannot be read: ${READ_ERRORS[code] ?? code}` };
  }
}

function stampOf({ certificate, key }: FilePair): string {
  return `${stampOfFile(certificate)} ${stampOfFile(key)}`;
}

function stampOfFile(file: string): string {
  try {
    const { ino, size, mtimeNs, ctimeNs } = statSync(file, { bigint: true });
    return `${ino}:${size}:${mtimeNs}:${ctimeNs}`;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code ?? "error";
  }
}
