// A real Firefox, connected to the sandbox as to its push service, subscribes on the example's page. The daemon sends,
// Firefox decrypts, the worker shows, and a tap is reported back.
import { spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { join } from "node:path";
import { firefox } from "./firefox.mjs";
import { daemon, equal, sandbox, say, until } from "./parvis.mjs";

const box = await sandbox();
const node = await daemon(box.dir);
const content = { en: { title: "Order {{ order.id }}", body: "is {{ order.state }}" } };
const link = "https://shop.example/orders/{{ order.id }}";
await node.put("/v1/stores/opera", { name: "Opera", time_zone: "Europe/Paris" });
await node.put("/v1/campaigns/news", { purpose: "order", on: { order: ["confirmed", "shipped"] }, content, deep_link: link });
const consents = { orders: { granted: true, at: "2026-01-01T00:00:00Z" } };
await node.put("/v1/shoppers/C-1", { locale: "en-GB", time_zone: "Europe/Paris", consents });

const root = process.env.INTEROP_ROOT;
const env = { ...process.env, PARVIS_URL: node.url, PARVIS_KEY: node.key, PORT: "0" };
const server = spawn(process.execPath, [join(root, "examples/web/serve.mjs")], { env, stdio: ["ignore", "pipe", "inherit"] });
process.on("exit", () => server.kill("SIGKILL"));
const { value: page_url } = await createInterface({ input: server.stdout })[Symbol.asyncIterator]().next();

const browser = await firefox(box.endpoints.autopush);

try {
  const page = await browser.newPage();
  await page.goto(page_url);
  await page.evaluate(() => navigator.serviceWorker.ready.then(() => null));
  await page.click("#subscribe");
  const state = () => page.$eval("#state", (element) => element.textContent);
  const told = await until("the subscription", async () => {
    const text = await state();
    if (/Error|may not/.test(text)) throw new Error(text);
    return /is told as (\S+)\./.exec(text)?.[1];
  });
  say("firefox", "subscribed with " + (await browser.version()));

  // The page does not say whose browser it is; the shop's own server would.
  const [connected] = await box.get("/sandbox/browsers");
  equal("one subscription", connected.endpoints.length, 1);
  const subscription = await page.evaluate(async () => {
    const worker = await navigator.serviceWorker.ready;
    return (await worker.pushManager.getSubscription()).toJSON();
  });
  equal("its endpoint", subscription.endpoint, connected.endpoints[0]);
  await node.put("/v1/devices/" + told, { shopper: "C-1", platform: "web", target: { channel: "webpush", subscription } });

  const event = (id, state) => node.post("/v1/orders/A-1/events", { event: id, at: new Date().toISOString(), state, shopper: "C-1", fulfilment: "delivery" });
  const shown = () => page.evaluate(async () => {
    const worker = await navigator.serviceWorker.ready;
    const all = await worker.getNotifications();
    return all.map(({ title, body, tag, data }) => ({ title, body, tag, data }));
  });
  await event("E-1", "confirmed");
  const [first] = await until("a notification", async () => { const all = await shown(); return all.length ? all : null; });
  equal("what is shown", [first.title, first.body, first.data.url], ["Order A-1", "is confirmed", "https://shop.example/orders/A-1"]);
  say("firefox", "decrypted and showed what the daemon sent");

  await event("E-2", "shipped");
  const second = await until("the next state", async () => (await shown()).find(({ body }) => body === "is shipped"));
  const all = await shown();
  equal("the same tag", second.tag === first.tag, all.length === 1);
  say("firefox", second.tag === first.tag ? "the next state took its place" : "the next state stands beside it");

  await page.evaluate(async (tag) => (await navigator.serviceWorker.ready).active.postMessage({ open: tag }), second.tag);
  const opened = await until("the receipt", async () => {
    const { items } = await node.get("/v1/notifications?shopper=C-1");
    return items.find((life) => JSON.stringify(life).includes('"opened"'));
  });
  equal("whose receipt", JSON.stringify(opened).includes(second.data.id), true);
  say("firefox", "the tap was reported, and the notification is gone");
  await until("its end", async () => !(await shown()).some(({ tag }) => tag === second.tag));
  const [after] = await box.get("/sandbox/browsers");
  equal("what Firefox says became of them", [after.delivered, after.undecryptable, after.failed], [2, 0, 0]);
} finally {
  await browser.close().catch(() => {});
  node.end();
}
process.exit();
