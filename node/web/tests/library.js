// A real cluster of three replicas for the page to talk to, with one address in front of them, as a service of
// Kubernetes would be: who connects reaches a node that lives.

import { execFile, spawn } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import net from "node:net";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));
const target = process.env.CARGO_TARGET_DIR ?? join(here, "../../../target");
const program = process.env.CARREL_BIN ?? join(target, "debug/carrel");
/** Of a range that no other test uses; the replicas take forty from here on. */
const port = Number(process.env.CARREL_PAGE_PORT ?? 27400);
const READY_WITHIN_MS = 90_000;
/** The hour in the library when the tests begin, whatever it is outside: how they end is not to hang on when they run. */
const hour = Number(process.env.CARREL_PAGE_HOUR ?? 10);

/** Whether a Postgres is installed, where `carrel demo` looks for one: the reports are then those of the record. */
const hasRecord = [15, 16, 17, 18].some((version) => existsSync(`/usr/lib/postgresql/${version}/bin/postgres`));

export const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** Until `condition` gives something, which is returned. */
export async function until(what, condition, within = 45_000) {
  const end = Date.now() + within;
  for (;;) {
    const found = await condition();
    if (found) return found;
    if (Date.now() > end) throw new Error(`waited ${within} ms for ${what}`);
    await pause(50);
  }
}

/** The zone of the earth where it is that hour now. Those of `Etc` count westward, from UTC+14 to UTC-12. */
function zone() {
  const east = (((hour - new Date().getUTCHours()) % 24) + 36) % 24 - 12;
  return `Etc/GMT${east > 0 ? "-" : "+"}${Math.abs(east)}`;
}

/** That never closes, at the hour of the tests. */
function alwaysOpen(dir) {
  const path = join(dir, "library.yaml");
  writeFileSync(path, readFileSync(join(here, "library.yaml"), "utf8").replaceAll("Europe/Berlin", zone()));
  return path;
}

/** With a catalogue of its own, or else the sample campus. */
export async function openLibrary(catalogIn = alwaysOpen) {
  const dir = mkdtempSync(join(tmpdir(), "carrel-page-"));
  const catalog = catalogIn?.(dir);
  const run = ["demo", "--dir", join(dir, "demo"), "--port", String(port), "--exit-with-parent", String(process.pid)];
  if (hasRecord) run.push("--postgres");
  if (catalog) run.push("--catalog", catalog);
  const demo = spawn(program, run, { stdio: ["ignore", "pipe", "pipe"] });
  let said = "";
  demo.stdout.on("data", (text) => (said += text));
  demo.stderr.on("data", (text) => (said += text));
  const facts = () => JSON.parse(readFileSync(join(dir, "demo/demo.json"), "utf8"));
  await until(
    "the demo",
    () => {
      if (demo.exitCode !== null) throw new Error(`the demo has ended: ${said}`);
      try {
        return facts().ready;
      } catch {
        return false;
      }
    },
    READY_WITHIN_MS,
  );
  const ports = facts().endpoints.map((endpoint) => Number(new URL(endpoint).port));
  const front = await balance(ports);
  return {
    hasRecord,
    url: `http://127.0.0.1:${front.port}`,
    password: (user) => facts().accounts.find((account) => account.user === user).password,
    /** New connections go to this replica for as long as it lives. */
    prefer: (replica) => front.prefer(ports[replica]),
    leader: () => leaderOf(ports),
    /** Somebody at a terminal: what the program says to them, and null if it refuses. */
    terminal: (name) => (args, typed = "") =>
      new Promise((resolve) => {
        const env = { ...process.env, CARREL_ENDPOINTS: facts().endpoints.join(), CARREL_CONFIG: join(dir, `terminal-${name}`) };
        const told = execFile(program, args, { env }, (error, said) => resolve(error ? null : said));
        told.stdin.end(typed);
      }),
    /** As by a power cut. The demo starts it again after a second. */
    kill: (replica) => process.kill(facts().pids[replica], "SIGKILL"),
    close: async () => {
      front.close();
      const ended = new Promise((resolve) => demo.once("exit", resolve));
      demo.kill("SIGINT");
      await ended;
      rmSync(dir, { recursive: true, force: true });
    },
  };
}

/** One address for several ports: the preferred one first, and the next if nobody answers there. */
async function balance(ports) {
  let order = ports;
  const open = new Set();
  const server = net.createServer((client) => {
    open.add(client);
    client.on("close", () => open.delete(client));
    client.on("error", () => client.destroy());
    const connect = ([first, ...others]) => {
      if (!first) return client.destroy();
      const node = net.connect(first, "127.0.0.1");
      let isConnected = false;
      node.on("connect", () => {
        isConnected = true;
        client.pipe(node).pipe(client);
      });
      node.on("error", () => (isConnected ? client.destroy() : connect(others)));
      node.on("close", () => isConnected && client.destroy());
      client.on("close", () => node.destroy());
    };
    connect(order);
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    port: server.address().port,
    prefer: (first) => {
      order = [first, ...ports.filter((one) => one !== first)];
      for (const client of open) client.destroy();
    },
    close: () => {
      for (const client of open) client.destroy();
      server.close();
    },
  };
}

/** Which replica leads: told by any of them in the page's own protocol, read without its clients. */
async function leaderOf(ports) {
  return until("a leader", async () => {
    for (const port of ports) {
      try {
        const answer = await fetch(`http://127.0.0.1:${port}/carrel.admin.v1.ClusterService/GetStatus`, {
          method: "POST",
          headers: { "content-type": "application/grpc-web+proto", "x-grpc-web": "1" },
          body: new Uint8Array(5),
          signal: AbortSignal.timeout(2_000),
        });
        const bytes = Buffer.from(await answer.arrayBuffer());
        const status = fields(bytes.subarray(5, 5 + bytes.readUInt32BE(1)));
        const leader = status.find(([number]) => number === 2)?.[1];
        const nodes = status.filter(([number]) => number === 4).map(([, bytes]) => fields(bytes));
        const node = nodes.find((node) => node.some(([number, id]) => number === 1 && id === leader));
        if (leader && node) return { ordinal: node.find(([number]) => number === 2)?.[1] ?? 0 };
      } catch {
        continue;
      }
    }
    return undefined;
  }).then(({ ordinal }) => ordinal);
}

/** The fields of a message on the wire: numbers and bytes, which is all that is looked at. */
function fields(bytes) {
  const found = [];
  let at = 0;
  const number = () => {
    let [value, factor] = [0, 1];
    for (;;) {
      const byte = bytes[at++];
      value += (byte & 0x7f) * factor;
      if (byte < 0x80) return value;
      factor *= 128;
    }
  };
  while (at < bytes.length) {
    const key = number();
    if (key % 8 === 0) found.push([key >> 3, number()]);
    else if (key % 8 === 2) {
      const length = number();
      found.push([key >> 3, bytes.subarray(at, (at += length))]);
    } else if (key % 8 === 1) at += 8;
    else at += 4;
  }
  return found;
}
