// How the page is built: names with hashes, smaller copies beside each file, and a record of what it was built from.

import { readFileSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { brotliCompressSync, constants, gzipSync } from "node:zlib";
import solid from "vite-plugin-solid";
import { defineConfig } from "vite";
import { hashOfSources } from "./build/sources.js";

/** Where a running cluster is, for `npm run dev`. */
const node = process.env.CARREL_NODE ?? "http://127.0.0.1:7400";

/** Of every file that is worth it a copy by brotli and one by gzip; and the hash of the sources. */
function finish() {
  return {
    name: "finish",
    apply: "build",
    closeBundle() {
      const dist = join(import.meta.dirname ?? process.cwd(), "dist");
      for (const file of readdirSync(dist, { recursive: true }).map((name) => join(dist, String(name)))) {
        if (!/\.(js|css|svg|html)$/.test(file)) continue;
        const plain = readFileSync(file);
        const quality = { params: { [constants.BROTLI_PARAM_QUALITY]: constants.BROTLI_MAX_QUALITY } };
        writeFileSync(`${file}.br`, brotliCompressSync(plain, quality));
        writeFileSync(`${file}.gz`, gzipSync(plain, { level: 9 }));
      }
      writeFileSync(join(dist, "sources.sha256"), `${hashOfSources()}\n`);
    },
  };
}

export default defineConfig({
  plugins: [solid(), finish()],
  build: { target: "es2022", assetsInlineLimit: 0, modulePreload: { polyfill: false }, reportCompressedSize: false },
  server: { port: 27200, proxy: { "^/[a-z]+(\\.[A-Za-z0-9]+)+/": node } },
});
