// Serves this folder, and passes on what a page may ask of the daemon: the key to subscribe with, its own registration,
// its receipts. The daemon's key stays here; a page never sees it. Node 18 or later, no packages.
//   PARVIS_URL=http://127.0.0.1:8080 PARVIS_KEY=... node serve.mjs
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { fileURLToPath } from "node:url";

const { PARVIS_URL = "http://127.0.0.1:8080", PARVIS_KEY, APP = "default", PORT = "8081" } = process.env;
if (!PARVIS_KEY) throw new Error("PARVIS_KEY must be set");
const BODY_BYTES = 16 * 1024;
const FILES = {
  "/": ["index.html", "text/html; charset=utf-8"],
  "/subscribe.js": ["subscribe.js", "text/javascript; charset=utf-8"],
  "/sw.js": ["sw.js", "text/javascript; charset=utf-8"],
};

async function body(request) {
  const parts = [];
  let length = 0;
  for await (const part of request) {
    length += part.length;
    if (length > BODY_BYTES) throw Object.assign(new Error("the body is too large"), { status: 413 });
    parts.push(part);
  }
  return Buffer.concat(parts);
}

async function pass(path, method, request, response) {
  const headers = { authorization: "Bearer " + PARVIS_KEY, "content-type": "application/json" };
  const sent = method === "GET" ? undefined : await body(request);
  const answer = await fetch(PARVIS_URL + path, { method, headers, body: sent });
  response.writeHead(answer.status, { "content-type": answer.headers.get("content-type") || "application/json" });
  response.end(Buffer.from(await answer.arrayBuffer()));
}

async function answer(request, response) {
  const { pathname } = new URL(request.url, "http://localhost");
  const [, id] = /^\/push\/(?:devices|receipts)\/([\w-]{1,64})$/.exec(pathname) || [];
  const call = id ? request.method + " " + pathname.split("/")[2] : request.method + " " + pathname;
  if (call === "PUT devices") return pass("/v1/devices/" + id, "PUT", request, response);
  if (call === "POST receipts") return pass("/v1/notifications/" + id + "/receipts", "POST", request, response);
  if (call === "GET /push/key") return pass("/v1/apps/" + APP + "/web-push-key", "GET", request, response);
  const file = request.method === "GET" && FILES[pathname];
  if (!file) {
    response.writeHead(404);
    return response.end();
  }
  const text = await readFile(fileURLToPath(new URL(file[0], import.meta.url)));
  response.writeHead(200, { "content-type": file[1] });
  return response.end(text);
}

const server = createServer((request, response) => {
  answer(request, response).catch((error) => {
    response.writeHead(error.status || 502, { "content-type": "text/plain" });
    response.end(error.message);
  });
});
server.listen(Number(PORT), "127.0.0.1", () => console.log("http://localhost:" + server.address().port));
