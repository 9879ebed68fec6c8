// What the page is built from, as one hash. `node/tests/tidy.rs` computes the same from the same files, so that a built
// page that is older than its sources is found without Node.

import { createHash } from "node:crypto";
import { readFileSync, readdirSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";

const web = join(dirname(fileURLToPath(import.meta.url)), "..");
const root = join(web, "..", "..");
const folders = ["node/web/build", "node/web/proto", "node/web/public", "node/web/src", "proto/proto/carrel/v1"];
const files = ["buf.gen.yaml", "index.html", "package-lock.json", "package.json", "tsconfig.json", "vite.config.js"];

function below(folder) {
  return readdirSync(join(root, folder), { withFileTypes: true }).flatMap((entry) => {
    const path = `${folder}/${entry.name}`;
    if (path === "node/web/src/gen") return [];
    return entry.isDirectory() ? below(path) : [path];
  });
}

/** Of every file its path and the hash of its text; of proto files without comments, which change nothing. */
export function hashOfSources() {
  const all = [
    ...folders.flatMap(below),
    ...files.map((file) => relative(root, join(web, file)).replaceAll("\\", "/")),
    "proto/proto/carrel/admin/v1/cluster.proto",
  ].sort((a, b) => (a < b ? -1 : 1));
  const whole = createHash("sha256");
  for (const path of all) {
    let text = readFileSync(join(root, path));
    if (path.endsWith(".proto")) {
      const lines = text.toString("utf8").split("\n").filter((line) => !line.trimStart().startsWith("//"));
      text = Buffer.from(lines.join("\n"));
    }
    whole.update(`${path} ${createHash("sha256").update(text).digest("hex")}\n`);
  }
  return whole.digest("hex");
}
