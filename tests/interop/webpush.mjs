// web-push: encryption and identification by another implementation, and the statuses that it understands.
import { createPrivateKey } from "node:crypto";
import webpush from "web-push";
import { equal, sandbox, say } from "./parvis.mjs";

const box = await sandbox();
const { d, x, y } = createPrivateKey(box.file("vapid.pem")).export({ format: "jwk" });
const publicKey = Buffer.concat([Buffer.from([4]), Buffer.from(x, "base64url"), Buffer.from(y, "base64url")]).toString("base64url");
const options = { vapidDetails: { subject: "mailto:push@shop.example", publicKey, privateKey: d }, TTL: 60, urgency: "high", topic: "order-1" };
const { subscription } = await box.target({ channel: "webpush" });

const document = { web_push: 8030, notification: { title: "Order ready", body: "Bay 3", navigate: "https://shop.example/o/1" }, app_badge: 1 };
const answer = await webpush.sendNotification(subscription, JSON.stringify(document), options);
equal("status", answer.statusCode, 201);
equal("location", answer.headers.location.startsWith(box.endpoints.webpush + "/message/"), true);
const [received] = await box.received();
equal("read", [received.title, received.body, received.collapse, received.remarks], ["Order ready", "Bay 3", "order-1", []]);
say("web-push", "a declarative message was decrypted and read");

async function status(change, body = "text") {
  try {
    return (await webpush.sendNotification(subscription, body, { ...options, ...change })).statusCode;
  } catch (error) {
    return [error.statusCode, JSON.parse(error.body).errno];
  }
}

const other = webpush.generateVAPIDKeys();
equal("no payload", await status({}, null), 201);
equal("another key", await status({ vapidDetails: { ...options.vapidDetails, publicKey: other.publicKey, privateKey: other.privateKey } }), [403, 109]);
equal("a life of more than 30 days", await status({ TTL: 2_592_001 }), [400, 112]);
// The old encoding comes with the old way of identification.
equal("the old encoding", await status({ contentEncoding: "aesgcm" }), [401, 109]);
equal("too large", await status({}, "x".repeat(4_000)), [413, 104]);
await box.behave(subscription.endpoint, { kind: "throttled", retry_after_s: 9 });
equal("throttled", await status({}), [429, 202]);
await box.behave(subscription.endpoint, { kind: "unregistered" });
equal("gone", await status({}), [410, 103]);
say("web-push", "six faults had their numbers");
