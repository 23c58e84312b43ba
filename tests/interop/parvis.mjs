// The real binary as processes: the sandbox, and a daemon that delivers to it. Both end with the script.
import { spawn, execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createInterface } from "node:readline";
import { tmpdir } from "node:os";
import { join } from "node:path";

const PARVIS = process.env.PARVIS;

// Ends the process with the first difference.
export function equal(what, found, expected) {
  const [one, two] = [JSON.stringify(found), JSON.stringify(expected)];
  if (one !== two) throw new Error(`${what}: ${one} instead of ${two}`);
}

export function say(client, what) {
  console.log(`${client.padEnd(16)} ${what}`);
}

async function lineWith(stream, read) {
  for await (const line of createInterface({ input: stream })) {
    const found = read(line);
    if (found) return found;
  }
  throw new Error("the process ended early");
}

function start(args, options) {
  const child = spawn(PARVIS, args, { stdio: ["ignore", "pipe", "pipe"], ...options });
  process.on("exit", () => child.kill("SIGKILL"));
  return child;
}

export async function json(url, method, body, headers) {
  const text = body === undefined ? undefined : JSON.stringify(body);
  const answer = await fetch(url, { method, body: text, headers: { "content-type": "application/json", ...headers } });
  const told = await answer.text();
  if (!answer.ok) throw new Error(`${method} ${url}: ${answer.status} ${told}`);
  return told ? JSON.parse(told) : null;
}

// Certificates of the sandbox are trusted by the whole process, which node does only from its start on.
export async function sandbox() {
  const dir = process.env.INTEROP_SANDBOX || mkdtempSync(join(tmpdir(), "parvis-interop-"));
  if (process.env.INTEROP_SANDBOX) return connected(dir, process.env.INTEROP_CONTROL);
  const child = start(["sandbox", "--dir", dir, "--port-base", "0"]);
  const control = await lineWith(child.stdout, (line) => /^received messages +(\S+)/.exec(line)?.[1]);
  child.stdout.resume();
  child.stderr.resume();
  const env = { ...process.env, INTEROP_SANDBOX: dir, INTEROP_CONTROL: control, NODE_EXTRA_CA_CERTS: join(dir, "ca.pem") };
  // What has been written is complete once the last file is there, and that line came after it.
  try {
    execFileSync(process.execPath, [process.argv[1]], { env, stdio: "inherit", timeout: 120_000 });
  } catch (error) {
    process.exitCode = error.status || 1;
  }
  child.kill("SIGKILL");
  rmSync(dir, { recursive: true, force: true });
  process.exit();
}

async function connected(dir, control) {
  const endpoints = await json(control + "/sandbox", "GET");
  return {
    dir,
    endpoints,
    file: (name) => readFileSync(join(dir, name), "utf8"),
    target: (body) => json(control + "/sandbox/targets", "POST", body),
    behave: (target, behaviour) => json(control + "/sandbox/behaviour", "PUT", { target, behaviour }),
    post: (path, body) => json(control + path, "POST", body),
    get: (path) => json(control + path, "GET"),
    received: async () => (await json(control + "/received", "GET")).received,
  };
}

// A daemon that delivers to the sandbox, and its API.
export async function daemon(dir) {
  const config = join(dir, "delivery.toml");
  const key = execFileSync(PARVIS, ["keys", "new", "--config", config, "--name", "interop", "--scope", "admin"]);
  const child = start(["serve", "--config", config, "--set", "http.listen=127.0.0.1:0"], {
    cwd: dir,
  });
  child.stdout.resume();
  const address = await lineWith(child.stderr, (line) => {
    try {
      return JSON.parse(line).fields["http.address"];
    } catch {
      return null;
    }
  });
  child.stderr.resume();
  const url = "http://" + address;
  const headers = { authorization: "Bearer " + key.toString().trim() };
  const call = (method) => (path, body) => json(url + path, method, body, headers);
  return { url, key: key.toString().trim(), put: call("PUT"), post: call("POST"), get: call("GET"), end: () => child.kill("SIGTERM") };
}

// Tries until something is there, which a deadline ends.
export async function until(what, look, patience_ms = 60_000) {
  const end = Date.now() + patience_ms;
  for (;;) {
    const found = await look();
    if (found) return found;
    if (Date.now() > end) throw new Error("waited in vain for " + what);
    await new Promise((next) => setTimeout(next, 50));
  }
}
