// Around `npm pack`: the published manifest goes without the Node that the checkout pins for itself
// (optionalDependencies) and without what only the checkout uses. `strip` before, `restore` after.
import { copyFileSync, existsSync, readFileSync, renameSync, writeFileSync } from "node:fs";

const MANIFEST = "package.json";
const KEPT_ASIDE = "package.json.kept";

if (process.argv[2] === "strip") {
  if (!existsSync(KEPT_ASIDE)) copyFileSync(MANIFEST, KEPT_ASIDE);
  const manifest = JSON.parse(readFileSync(MANIFEST, "utf8"));
  for (const field of ["optionalDependencies", "devDependencies", "overrides", "scripts"]) {
    delete manifest[field];
  }
  writeFileSync(MANIFEST, `${JSON.stringify(manifest, null, 2)}\n`);
} else {
  renameSync(KEPT_ASIDE, MANIFEST);
}
