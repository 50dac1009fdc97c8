/**
 * Plain scalars as kubectl reads them (the YAML 1.1 of sigs.k8s.io/yaml), where YAML 1.2 would read
 * text or another number: the same file must mean the same here and in a cluster.
 */
import type { ScalarTag } from "yaml";

const BOOL = "tag:yaml.org,2002:bool";
const INT = "tag:yaml.org,2002:int";

/** "y", "yes", "on" and their opposites: booleans unless quoted. */
const yesNo: ScalarTag = {
  tag: BOOL,
  default: true,
  test: /^(?:[yYnN]|yes|Yes|YES|no|No|NO|on|On|ON|off|Off|OFF)$/,
  resolve: (text) => ["y", "yes", "on"].includes(text.toLowerCase()),
};

/** 0755 is octal. */
const octal: ScalarTag = {
  tag: INT,
  default: true,
  test: /^[-+]?0[0-7_]+$/,
  resolve: (text) => toInteger(text, 8),
};

/** 0b101 is binary. */
const binary: ScalarTag = {
  tag: INT,
  default: true,
  test: /^[-+]?0b[01_]+$/,
  resolve: (text) => toInteger(text.replace("0b", ""), 2),
};

/** 1_000 is a thousand. */
const grouped: ScalarTag = {
  tag: INT,
  default: true,
  test: /^[-+]?[1-9][0-9]*_[0-9_]*$/,
  resolve: (text) => toInteger(text, 10),
};

/** To stand before the tags of YAML 1.2's core schema. */
export const KUBERNETES_SCALARS: readonly ScalarTag[] = [yesNo, octal, binary, grouped];

function toInteger(text: string, radix: number): number {
  return Number.parseInt(text.replaceAll("_", ""), radix);
}
