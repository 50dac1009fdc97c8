/** Runs one benchmark by its name: `npm run bench -- NAME`. Its last line is one JSON object. */

const [name = ""] = process.argv.slice(2);
switch (name) {
  case "proxy":
    await import("./proxy.ts");
    break;
  case "match":
    await import("./match.ts");
    break;
  default:
    process.stderr.write("Usage: npm run bench -- proxy|match\n");
    process.exitCode = 2;
}
