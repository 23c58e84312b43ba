// @parse/node-apn: tokens and certificates, what is accepted and what is refused, Live Activities, broadcast channels.
import apn from "@parse/node-apn";
import { equal, sandbox, say } from "./parvis.mjs";

const TOPIC = "com.example.shop";
const box = await sandbox();
const [host, port] = box.endpoints.apns_production.replace("https://", "").split(":");
const key = (await import("node:fs")).readdirSync(box.dir).find((name) => name.startsWith("AuthKey_"));
const token = { key: box.file(key), keyId: key.slice(8, -3), teamId: "PARVISTEAM" };
const at = {
  production: true,
  address: host,
  port: Number(port),
  manageChannelsAddress: host,
  manageChannelsPort: Number(port),
  ca: [box.file("ca.pem")],
};
const provider = new apn.Provider({ ...at, token });

function note(more) {
  return Object.assign(new apn.Notification(), { topic: TOPIC, pushType: "alert", alert: { title: "Order ready", body: "Bay 3" } }, more);
}

async function refusal(device, more) {
  const { failed } = await provider.send(note(more), device);
  equal("one refusal", failed.length, 1);
  return [failed[0].status, failed[0].response?.reason];
}

const { token: device } = await box.target({ channel: "apns", topic: TOPIC });
const { sent, failed } = await provider.send(note({ collapseId: "order-1", priority: 10, payload: { deep_link: "https://shop.example/o" } }), device);
equal("failures", failed, []);
equal("sent", sent.map((one) => one.device), [device]);
const [received] = await box.received();
equal("title", [received.title, received.body, received.collapse], ["Order ready", "Bay 3", "order-1"]);
say("node-apn", "an alert was accepted and read");

equal("background", (await provider.send(note({ pushType: "background", priority: 5, alert: undefined, contentAvailable: 1 }), device)).failed, []);
equal("urgent background", await refusal(device, { pushType: "background", priority: 10, contentAvailable: 1 }), [400, "BadPriority"]);
equal("another topic", await refusal(device, { topic: "com.example.nobody" }), [400, "TopicDisallowed"]);
equal("a type without its suffix", await refusal(device, { pushType: "voip" }), [400, "InvalidPushType"]);
equal("an unknown token", await refusal("0".repeat(64), {}), [400, "BadDeviceToken"]);
equal("too large", await refusal(device, { payload: { x: "x".repeat(4_096) } }), [413, "PayloadTooLarge"]);
say("node-apn", "six faults had their reasons");

const { token: gone } = await box.target({ channel: "apns", topic: TOPIC });
await box.behave(gone, { kind: "unregistered", since: "2026-11-20T08:00:00Z" });
const left = (await provider.send(note({}), gone)).failed[0];
equal("gone", [left.status, left.response.reason, left.response.timestamp], [410, "Unregistered", Date.parse("2026-11-20T08:00:00Z")]);
say("node-apn", "410 had its timestamp");

const { token: starting } = await box.target({ channel: "apns", topic: TOPIC, purpose: "activity_start" });
const activity = (event, timestamp, more) => {
  const aps = { timestamp, event, "content-state": { step: event }, ...more };
  return note({ topic: TOPIC + ".push-type.liveactivity", pushType: "liveactivity", priority: 10, rawPayload: { aps } });
};
const more = { "attributes-type": "Order", attributes: { order: "O-1" }, alert: { title: "Order", body: "taken" }, "input-push-token": 1 };
equal("start", (await provider.send(activity("start", 1, more), starting)).failed, []);
const [started] = await box.get("/sandbox/activities");
equal("update", (await provider.send(activity("update", 2), started.update_token)).failed, []);
equal("end", (await provider.send(activity("end", 3), started.update_token)).failed, []);
const [ended] = await box.get("/sandbox/activities");
equal("the activity", [ended.ended, ended.state], [true, { step: "end" }]);
say("node-apn", "a Live Activity was started, updated and ended");

const manage = (action, more) => provider.manageChannels(Object.assign(new apn.Notification(), more), TOPIC, action);
const created = await manage("create", { rawPayload: { "message-storage-policy": 1, "push-type": "LiveActivity" } });
equal("create", created.failed, []);
const channelId = created.sent[0]["apns-channel-id"];
const read = await manage("read", { channelId });
equal("read", read.failed, []);
equal("policy", read.sent[0]["message-storage-policy"], 1);
const all = await manage("readAll", {});
equal("list", [all.failed, all.sent[0].channels], [[], [channelId]]);
const cast = note({ channelId, pushType: "liveactivity", expiry: 0, priority: 5, topic: undefined, alert: undefined, rawPayload: { aps: { timestamp: 4, event: "update", "content-state": {} } } });
const broadcast = await provider.broadcast(cast, TOPIC);
equal("broadcast", broadcast.failed, []);
equal("its target", (await box.received()).at(-1).target, `broadcasts/${TOPIC}/${channelId}`);
equal("delete", (await manage("delete", { channelId })).failed, []);
equal("deleted", (await manage("read", { channelId })).failed[0]?.response?.reason, "ChannelNotRegistered");
say("node-apn", "a channel was made, read, listed, used and ended");

const issued = await box.post("/sandbox/apns/certificates", { topic: TOPIC });
const certified = new apn.Provider({ ...at, cert: issued.certificate_pem, key: issued.key_pem });
equal("by certificate", (await certified.send(note({}), device)).failed, []);
const one = await box.post("/sandbox/apns/certificates", { topic: TOPIC, environment: "sandbox" });
const elsewhere = new apn.Provider({ ...at, cert: one.certificate_pem, key: one.key_pem });
equal("another environment", (await elsewhere.send(note({}), device)).failed[0]?.response?.reason, "BadCertificateEnvironment");
say("node-apn", "a certificate was accepted, one of the other environment was not");

for (const each of [provider, certified, elsewhere]) await each.shutdown();
process.exit();
