/** Kubernetes' quantities: "64Ki", "1M", "65536". */

const QUANTITY = /^(\d{1,16})(\.\d{1,6})?(Ki|Mi|Gi|Ti|k|M|G|T)?$/;

const FACTORS: Readonly<Record<string, number>> = {
  "": 1,
  k: 1e3,
  M: 1e6,
  G: 1e9,
  T: 1e12,
  Ki: 2 ** 10,
  Mi: 2 ** 20,
  Gi: 2 ** 30,
  Ti: 2 ** 40,
};

/** The whole number that a quantity of bytes stands for, or undefined where it is none. */
export function parseQuantity(value: string | number): number | undefined {
  if (typeof value === "number")
    return Number.isSafeInteger(value) && value >= 0 ? value : undefined;
  const found = QUANTITY.exec(value);
  if (found === null) return undefined;
  const amount = Number(`${found[1]}${found[2] ?? ""}`) * (FACTORS[found[3] ?? ""] as number);
  return Number.isSafeInteger(amount) ? amount : undefined;
}
