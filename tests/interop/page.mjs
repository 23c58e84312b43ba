// The sandbox's page in a real Firefox: live, collapsed ones replaced, an activity in place, and no markup of what came.
import { readdirSync } from "node:fs";
import apn from "@parse/node-apn";
import { equal, sandbox, say, until } from "./parvis.mjs";
import { firefox } from "./firefox.mjs";

const TOPIC = "com.example.shop";
const box = await sandbox();
const [address, port] = box.endpoints.apns_production.replace("https://", "").split(":");
const name = readdirSync(box.dir).find((name) => name.startsWith("AuthKey_"));
const token = { key: box.file(name), keyId: name.slice(8, -3), teamId: "PARVISTEAM" };
const provider = new apn.Provider({ production: true, address, port: Number(port), token, ca: [box.file("ca.pem")] });
const send = async (device, more) => {
  const note = Object.assign(new apn.Notification(), { topic: TOPIC, pushType: "alert" }, more);
  equal("failures", (await provider.send(note, device)).failed, []);
};

const { token: device } = await box.target({ channel: "apns", topic: TOPIC });
await send(device, { alert: { title: "before", body: "the page was opened" } });
const browser = await firefox(box.endpoints.autopush);
try {
  const page = await browser.newPage();
  await page.goto(box.endpoints.control, { waitUntil: "domcontentloaded" });
  const cards = () => page.$$eval(".card", (all) => all.map((card) => card.querySelector(".title").textContent));
  const shown = (what, expected) => until(what, async () => JSON.stringify(await cards()) === JSON.stringify(expected));
  await shown("what came before", ["before"]);
  say("page", "showed what had come before it was opened");

  const harmful = "<img src=x onerror=\"document.title='harm'\"><b>bold</b>";
  await send(device, { alert: { title: harmful, body: harmful }, collapseId: "order-1" });
  await shown("a live one", [harmful, "before"]);
  equal("no element was made of it", await page.$$eval(".card img, .card b", (all) => all.length), 0);
  equal("nothing ran", await page.title(), "Parvis sandbox");
  await send(device, { alert: { title: "ready", body: "Bay 3" }, collapseId: "order-1" });
  await shown("the collapsed one replaced", ["ready", "before"]);
  say("page", "is live, makes no markup, replaces what is collapsed");

  const { token: starting } = await box.target({ channel: "apns", topic: TOPIC, purpose: "activity_start" });
  const push = (target, event, timestamp, more) => {
    const aps = { timestamp, event, "content-state": { step: "step " + timestamp }, ...more };
    return send(target, { topic: TOPIC + ".push-type.liveactivity", pushType: "liveactivity", priority: 10, rawPayload: { aps } });
  };
  const more = { "attributes-type": "OrderTrip", attributes: { order: "O-1" }, alert: { title: "Order", body: "taken" }, "input-push-token": 1 };
  await push(starting, "start", 1, more);
  await shown("the activity", ["OrderTrip", "ready", "before"]);
  const [{ update_token: updating }] = await box.get("/sandbox/activities");
  const card = () => page.$eval(".card.activity", (card) => [...card.querySelectorAll("dd")].map((value) => value.textContent));
  for (const [event, timestamp] of [["update", 2], ["end", 3]]) {
    await push(updating, event, timestamp);
    await until(event, async () => (await card()).includes("step " + timestamp));
  }
  equal("one card, with its attributes", [(await cards()).length, await card()], [3, ["O-1", "step 3"]]);
  equal("it has ended", await page.$$eval(".card.ended", (all) => all.length), 1);
  say("page", "moved one Live Activity from start to end in its card");
} finally {
  await browser.close().catch(() => {});
  await provider.shutdown();
}
process.exit();
